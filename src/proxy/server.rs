//! Listeners, threads and services: the running server.

use std::sync::Arc;

use pingora_core::listeners::ListenerConfig;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;
use pingora_core::services::listening::Service;
use pingora_proxy::HttpProxy;

use crate::base::limit::{
    IDLE_UPSTREAMS_MAX, PROXY_TRIES_MAX, STOP_SECONDS_MIN, TLS_READ_BUFFER_BYTES,
    WRITE_BUFFER_BYTES,
};
use crate::config::snapshot::Server as Settings;
use crate::proxy::background::{Admin, Leave, Leaving, Reloading, Signals, patience_ms};
use crate::proxy::doorman::{Doorman, Porch};
use crate::proxy::service::Weir;
use crate::proxy::shared::Shared;

/// What the server is made of.
pub struct Parts {
    /// What all requests share.
    pub shared: Arc<Shared>,
    /// The admin port.
    pub admin: Admin,
    /// What reloads the configuration.
    pub reloading: Reloading,
    /// The last thing to do.
    pub leave: Leave,
    /// Whether to take the listeners over from a running process.
    pub upgrade: bool,
}

/// Runs until a signal ends it.
///
/// # Errors
/// A certificate or key that cannot be read.
pub fn run(settings: &Settings, parts: Parts) -> Result<(), String> {
    let opt = Opt { upgrade: parts.upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(opt, conf(settings));
    server.bootstrap();
    let data_plane = data_plane(settings, &parts.shared)?;
    server.add_service(data_plane);
    let handing_over = Arc::clone(&parts.admin.handing_over);
    server.add_service(background_service("admin", parts.admin));
    server.add_service(background_service("reload", parts.reloading));
    let leave = Arc::clone(&parts.leave);
    let patience_ms = patience_ms(settings.grace_seconds);
    let leaving = Leaving { shared: Arc::clone(&parts.shared), leave, patience_ms };
    server.add_service(background_service("leaving", leaving));
    server.run(RunArgs { shutdown_signal: Box::new(Signals { handing_over }) });
    (parts.leave)();
    Ok(())
}

fn conf(settings: &Settings) -> ServerConf {
    let threads = match settings.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    ServerConf {
        threads,
        grace_period_seconds: Some(settings.grace_seconds.max(STOP_SECONDS_MIN)),
        // Who was told of the end and still runs at the end of the grace (a client that does not read) is
        // dropped; contexts record themselves then.
        graceful_shutdown_timeout_seconds: Some(1),
        upgrade_sock: settings.upgrade_sock.display().to_string(),
        upstream_keepalive_pool_size: IDLE_UPSTREAMS_MAX,
        max_retries: PROXY_TRIES_MAX,
        // With one thread there is nobody to steal, and a small request costs 8 % less without the
        // machinery for it. With more, each socket would be tied to the thread that opened it, and
        // kept connections would wake one thread from another.
        work_stealing: threads > 1,
        ..ServerConf::default()
    }
}

fn data_plane(settings: &Settings, shared: &Arc<Shared>) -> Result<Service<Porch>, String> {
    let mut proxy = HttpProxy::new(Weir::new(Arc::clone(shared)), Arc::new(conf(settings)));
    proxy.handle_init_modules();
    let doorman = Doorman::new(proxy, Arc::clone(shared), settings.h2c);
    let mut service = Service::new("data plane".to_owned(), Porch::new(doorman));
    for address in &settings.listen {
        // Pingora's 64 KiB read buffer would be most of an idle stream's memory. Heads and bodies are
        // read into buffers of their own, so without TLS (whose reads are small) none is needed.
        let read = if settings.tls.is_some() { TLS_READ_BUFFER_BYTES } else { 0 };
        let buffers = L4BufferSettings::new(read, WRITE_BUFFER_BYTES);
        let mut listener = ListenerConfig::tcp(address.to_string()).l4_buffer(buffers);
        if let Some(tls) = &settings.tls {
            let (cert, key) = (tls.cert.display().to_string(), tls.key.display().to_string());
            let mut tls = TlsSettings::intermediate(&cert, &key)
                .map_err(|error| format!("server.tls: {error}"))?;
            tls.enable_h2();
            listener = listener.tls(tls);
        }
        service.add_listener(listener);
    }
    Ok(service)
}
