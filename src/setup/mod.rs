//! The roof: the commands that write a configuration, `weir init` and `weir import`. What they write is made
//! by `config::first` and `config::import`; here are the terminal, the environment and the files.

pub mod carry;
pub mod new_files;
pub mod wizard;
