//! The commands (`api.md` section 1): what was typed, and which part of `app` does it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::{self, Start};
use crate::demo;
use crate::guard_cli;
use crate::setup::carry;
use crate::setup::wizard::{self, Wish};
use crate::store::export::{self, Format};
use crate::train_cli;

/// An LLM edge gateway for fleets of agents: routes, meters and caps tokens and money.
#[derive(Debug, Parser)]
// What stands before a command is `serve`'s own: it would be passed over without a word otherwise.
#[command(name = "weir", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

const AFTER_HELP: &str = "Without a command, `weir` is `weir serve`. Try `weir demo` first: it needs \
    no key, no file and no network.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT; SIGHUP reloads, SIGQUIT hands over to a new process
    #[command(alias = "start")]
    Serve(Serve),
    /// The same as `serve --watch`
    Dev(Serve),
    /// Read and check the configuration, and print every problem
    Check(Config),
    /// Run a gateway with mock providers, show what it does, and stay up
    Demo,
    /// Run mock providers
    Mock(Mock),
    /// Ask a few questions, and write a first configuration and the `.env` beside it
    Init(Init),
    /// Turn a configuration of Execwall, openclaw-autoproxy or optmod into one of Weir
    Import(Import),
    /// The spend ledger: print it, check it, rebuild what follows from it
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Accounts at providers that were made through the API
    Profiles {
        #[command(subcommand)]
        command: ProfilesCommand,
    },
    /// The guard, tried on labelled texts
    Guard {
        #[command(subcommand)]
        command: guard_cli::GuardCommand,
    },
    /// Learn from labelled queries, or from the request log, which model answers what well
    Train(train_cli::Train),
    /// Print what routing costs and keeps, beside single models, prompt length and an oracle
    Eval(train_cli::Eval),
    /// Keys
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print a fresh key and its hash; the configuration may hold either
    New,
}

#[derive(Debug, Subcommand)]
enum ProfilesCommand {
    /// Seal all stored credentials with another key, in one transaction; the gateway may be running
    #[command(after_help = ROTATE_HELP)]
    RotateKey(RotateKey),
}

const ROTATE_HELP: &str = "Without stopping the gateway:
  1. Make a key (`openssl rand -base64 32 > new.key`), name it in profiles.kms_key or kms_key_file and the
     former one in profiles.kms_keys_old, and reload (SIGHUP). The gateway then opens with both.
  2. Run this command.
  3. Take the former key out of profiles.kms_keys_old, and reload.

If anything fails, no credential is changed; running it again does no harm.";

#[derive(Debug, Args)]
struct RotateKey {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    new_key: NewKey,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct NewKey {
    /// The file with the new key: 32 bytes in base64
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// The environment variable with the new key
    #[arg(long, value_name = "NAME")]
    new_key_env: Option<String>,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Print one line for each settled attempt, and one with `event` for everything else
    ///
    /// Attempts of agents without a limit are summed as they are written: several of one model may be one line,
    /// which then has no request and attempt id.
    Export {
        #[command(flatten)]
        ledger: Ledger,
        /// How lines look
        #[arg(long, value_enum, default_value_t = Form::Jsonl)]
        format: Form,
        /// Holds as well, which come before what they turned out to be
        #[arg(long)]
        all: bool,
        /// Write to this file instead of the standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check the chain of hashes, all sums and the invariants; exit 1 with the first broken entry
    Verify(Ledger),
    /// Rebuild balances and open holds from the entries; the gateway must not be running
    Replay(Ledger),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// One JSON object a line
    Jsonl,
    /// RFC 4180, with a header row
    Csv,
}

#[derive(Debug, Args)]
struct Ledger {
    #[command(flatten)]
    config: Config,
    /// Where the ledger lies, instead of what the configuration says
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Ledger {
    fn file(self) -> Result<PathBuf, String> {
        app::ledger_file(self.config.path(), self.file)
    }
}

#[derive(Debug, Default, Args)]
struct Config {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", env = "WEIR_CONFIG")]
    config: Option<OsString>,
}

#[derive(Debug, Default, Args)]
struct Serve {
    #[command(flatten)]
    config: Config,
    /// Reload when the file changes
    #[arg(long)]
    watch: bool,
    /// Take the listeners over from the running process (send it SIGQUIT)
    #[arg(long)]
    upgrade: bool,
}

#[derive(Debug, Args)]
struct Mock {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Append one JSON line per request to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Init {
    /// Ask nothing: the provider whose key is in the environment, else one on this machine
    #[arg(long)]
    yes: bool,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
    /// Where the configuration goes; `.env` goes beside it
    #[arg(short, long, value_name = "FILE", default_value = "weir.yaml")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct Import {
    /// `policy.yaml`, `routes.yml` or `config.yaml`
    file: PathBuf,
    /// Write to this file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

impl Config {
    /// The file named, else the seed's variable (S0-05), else the usual place. A variable that is empty says
    /// nothing.
    fn path(self) -> PathBuf {
        let of_seed = || std::env::var_os("CONFIG_PATH").filter(|path| !path.is_empty());
        let named = self.config.filter(|path| !path.is_empty()).or_else(of_seed);
        named.map_or_else(|| PathBuf::from("conf/weir.yaml"), PathBuf::from)
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let Cli { command, serve } = Cli::parse();
    let done = match command.unwrap_or(Command::Serve(serve)) {
        Command::Serve(serve) => {
            app::serve(serve.config.path(), Start::new(serve.watch, serve.upgrade))
        }
        Command::Dev(serve) => app::serve(serve.config.path(), Start::new(true, serve.upgrade)),
        Command::Check(config) => app::check(config.path()),
        Command::Demo => demo::run(),
        Command::Mock(mock) => app::mock(mock.listen, mock.log),
        Command::Init(Init { yes, force, output }) => wizard::run(&Wish { yes, force, output }),
        Command::Import(Import { file, output, force }) => carry::run(&file, output, force),
        Command::Ledger { command } => ledger(command),
        Command::Profiles {
            command: ProfilesCommand::RotateKey(RotateKey { config, new_key }),
        } => app::rotate_key(
            config.path(),
            new_key.new_key_file.as_deref(),
            new_key.new_key_env.as_deref(),
        ),
        Command::Guard { command } => guard_cli::run(command),
        Command::Train(told) => train_cli::train(&told),
        Command::Eval(told) => train_cli::eval(&told),
        Command::Key { command: KeyCommand::New } => app::new_key(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            app::say_error(&problem);
            ExitCode::FAILURE
        }
    }
}

fn ledger(command: LedgerCommand) -> Result<(), String> {
    match command {
        LedgerCommand::Export { ledger, format, all, output } => {
            let format = match format {
                Form::Jsonl => Format::Jsonl,
                Form::Csv => Format::Csv,
            };
            app::export(&ledger.file()?, export::Wish { format, all }, output.as_deref())
        }
        LedgerCommand::Verify(ledger) => app::verify(&ledger.file()?),
        LedgerCommand::Replay(ledger) => app::replay(&ledger.file()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_command_is_refused_and_not_passed_over() {
        for line in
            ["weir -c other.yaml check", "weir --watch serve", "weir --config a ledger verify"]
        {
            let told = Cli::try_parse_from(line.split(' '));
            assert!(
                told.is_err_and(|error| error.to_string().contains("cannot be used with")),
                "{line}"
            );
        }
        for line in ["weir -c other.yaml --watch", "weir check -c other.yaml", "weir"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
