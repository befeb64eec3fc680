//! The control API as HTTP: takes requests apart, calls the handlers, puts the replies together.
//!
//! What each call does is in `handlers`, which paths exist in `routes`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::request::Parts as Head;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, on};
use axum::serve::IncomingStream;
use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::admin::access::Caller;
use crate::admin::ask::Params;
use crate::admin::dashboard;
use crate::admin::figures::{self, Reader};
use crate::admin::handlers::{self, Parts, Refusal};
use crate::admin::listener::Bounded;
use crate::admin::money::{self, Sight};
use crate::admin::mutators;
use crate::admin::openapi;
use crate::admin::profiles;
use crate::admin::routes::{Call, ROUTES, Route};
use crate::admin::routing;
use crate::admin::switching::{self, Asker};
use crate::admin::ward;
use crate::base::fault::Code;
use crate::base::limit::{ADMIN_BODY_BYTES_MAX, ADMIN_WORK_MS_MAX};
use crate::engine::accounts::Accounts;
use crate::stats::range::Range;

const WORK_TIME: Duration = Duration::from_millis(ADMIN_WORK_MS_MAX);
const JSON: &str = "application/json";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const NO_SNIFF: (HeaderName, &str) = (HeaderName::from_static("x-content-type-options"), "nosniff");

/// The address of the other side.
#[derive(Clone, Copy, Debug)]
pub struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Serves the control API until `shutdown` ends and running requests are answered.
pub async fn serve(
    listener: TcpListener,
    parts: Arc<Parts>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router(parts).into_make_service_with_connect_info::<Peer>();
    axum::serve(Bounded::new(listener), service).with_graceful_shutdown(shutdown).await
}

/// The whole control API.
fn router(parts: Arc<Parts>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, method_router(route));
    }
    router
        .fallback(|| async { refuse(&Refusal::new(Code::NotFound, "no such path")) })
        .method_not_allowed_fallback(|| async {
            refuse(&Refusal::new(Code::MethodNotAllowed, "this path has no such method"))
        })
        .with_state(parts)
}

fn method_router(route: &'static Route) -> MethodRouter<Arc<Parts>> {
    on(
        route.method.filter(),
        move |State(parts): State<Arc<Parts>>, ConnectInfo(peer): ConnectInfo<Peer>, request| {
            dispatch(route, parts, peer, request)
        },
    )
}

async fn dispatch(
    route: &'static Route,
    parts: Arc<Parts>,
    peer: Peer,
    request: Request,
) -> Response {
    answer(route, parts, peer, request).await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn answer(
    route: &'static Route,
    parts: Arc<Parts>,
    Peer(peer): Peer,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut head, body) = request.into_parts();
    let current = parts.live.load_full();
    let caller = Caller::of(&head.headers, peer.ip(), &current.snapshot.gate)?;
    caller.may(route.access)?;
    let body = read(body).await?;
    if is_about_accounts(route.call) {
        let key_id = Caller::key_id(&head.headers, &current.snapshot.gate);
        let asker = Asker { grant: caller.grant, key_id, now_ms: now_ms() };
        let (params, name) = (Params::of(&head.uri)?, named(&mut head).await?);
        let call = AccountCall { call: route.call, asker, params, name, body };
        let (status, value) = blocking(move || about_accounts(&parts.accounts, &call)).await??;
        return Ok(json(status, &value));
    }
    if ward::is_about_guard(route.call) {
        let by = Caller::key_id(&head.headers, &current.snapshot.gate);
        let (params, name) = (Params::of(&head.uri)?, named(&mut head).await?);
        let ask = ward::Ask { call: route.call, by, name, params, body };
        return Ok(json(200, &blocking(move || ward::answer(&parts, &ask)).await??));
    }
    let name = named(&mut head).await?;
    if is_about_routing(route.call) {
        let (status, body) = blocking(move || about_routing(route.call, &parts, &name)).await??;
        return Ok(bytes(status, JSON, body));
    }
    let about = About { name, body, caller };
    if let Some(response) = about_figures(route.call, &parts, &head, peer).await {
        return response;
    }
    Ok(match route.call {
        Call::Health => {
            bytes(200, JSON, handlers::health_body(&current.snapshot, caller.grant.is_some()))
        }
        Call::Live => bytes(200, JSON, handlers::LIVE_BODY),
        Call::Ready => {
            let (status, body) = handlers::readiness(!handlers::is_ready(&parts), &parts.keeper);
            bytes(status, JSON, body)
        }
        Call::OpenApi => json(200, &openapi::document()),
        Call::Metrics => {
            bytes(200, METRICS_TEXT, blocking(move || handlers::metrics(&parts)).await??)
        }
        Call::Status => {
            let status = blocking(move || handlers::status(&parts)).await?;
            json(if status.is_healthy() { 200 } else { 503 }, &status.to_json())
        }
        Call::Reload => {
            let reloaded = blocking(move || handlers::reload(&parts)).await??;
            json(200, &handlers::reloaded_json(&reloaded))
        }
        Call::ToolResults => {
            let key_id = Caller::key_id(&head.headers, &current.snapshot.gate);
            json(200, &mutators::switch(&current, &about.name, &key_id)?)
        }
        Call::Thinking => {
            let key_id = Caller::key_id(&head.headers, &current.snapshot.gate);
            json(200, &mutators::switch_thinking(&current, &about.name, &key_id)?)
        }
        call => bytes(200, JSON, in_time(about_money(call, &parts, &about)).await?),
    })
}

/// The dashboard and its numbers; `None` for other calls.
async fn about_figures(
    call: Call,
    parts: &Arc<Parts>,
    head: &Head,
    peer: SocketAddr,
) -> Option<Result<Response, Refusal>> {
    match call {
        Call::Dashboard(piece) => Some(Ok(dashboard::serve(piece, &head.headers))),
        Call::Stats | Call::StatsLive | Call::StatsStream | Call::ClearLog => {
            Some(figures(call, Arc::clone(parts), head, peer).await)
        }
        _ => None,
    }
}

async fn figures(
    call: Call,
    parts: Arc<Parts>,
    head: &Head,
    peer: SocketAddr,
) -> Result<Response, Refusal> {
    let params = Params::of(&head.uri)?;
    if call == Call::StatsStream {
        let (headers, range) = (head.headers.clone(), Range::read(params.text("range")));
        return figures::stream(parts, Reader { headers, peer: peer.ip(), range });
    }
    Ok(bytes(200, JSON, blocking(move || figures::answer(call, &parts, &params)).await??))
}

/// What a call about money is about.
struct About {
    /// The last part of the path, decoded; empty if the route has none.
    name: String,
    body: Bytes,
    caller: Caller,
}

async fn about_money(call: Call, parts: &Parts, about: &About) -> Result<String, Refusal> {
    let current = parts.live.load_full();
    let sight = || Sight::of(about.caller.grant, &current.snapshot);
    let name = &*about.name;
    match call {
        Call::SpendAll => Ok(money::spend_all(&parts.keeper, &sight()?)),
        Call::Spend => money::spend_one((&parts.keeper, &current.snapshot), &sight()?, name),
        Call::Budget => money::set_budget(parts, name, &about.body).await,
        Call::Reset => money::reset(parts, name).await,
        Call::Freeze => money::set_frozen(parts, name, true).await,
        Call::Thaw => money::set_frozen(parts, name, false).await,
        Call::Limbo => money::limbo(parts).await,
        Call::SettleLimbo => money::settle_limbo(parts, name, &about.body).await,
        _ => Err(Refusal::new(Code::NotFound, "no such path")),
    }
}

/// A call about accounts, switches and the audit.
struct AccountCall {
    call: Call,
    asker: Asker,
    params: Params,
    name: String,
    body: Bytes,
}

const fn is_about_accounts(call: Call) -> bool {
    matches!(
        call,
        Call::AddProfile
            | Call::Profiles
            | Call::RemoveProfile
            | Call::PutModel
            | Call::SyncModels
            | Call::Models
            | Call::Switch
            | Call::Active
            | Call::AuditRequests
            | Call::AuditSwitches
    )
}

fn about_accounts(accounts: &Accounts, about: &AccountCall) -> Result<(u16, Value), Refusal> {
    let AccountCall { call, asker, params, name, body } = about;
    let value = match call {
        Call::AddProfile => {
            return profiles::add(accounts, body, asker.now_ms).map(|value| (201, value));
        }
        Call::Profiles => profiles::list(accounts),
        Call::RemoveProfile => profiles::remove(accounts, name),
        Call::PutModel => profiles::put_model(accounts, body),
        Call::SyncModels => profiles::sync(accounts, name),
        Call::Models => profiles::models(accounts, params),
        Call::Switch => switching::switch(accounts, asker, body),
        Call::Active => switching::active(accounts, asker, params),
        Call::AuditRequests => switching::requests(accounts, params),
        Call::AuditSwitches => switching::switches(accounts, params),
        _ => Err(Refusal::new(Code::NotFound, "no such path")),
    };
    value.map(|value| (200, value))
}

const fn is_about_routing(call: Call) -> bool {
    matches!(call, Call::Routing | Call::SetStrategy | Call::SetRouter | Call::Restart)
}

fn about_routing(call: Call, parts: &Parts, name: &str) -> Result<(u16, String), Refusal> {
    let value = match call {
        Call::Routing => return Ok((200, routing::status(parts))),
        Call::SetStrategy => routing::switch(parts, name)?,
        Call::SetRouter => {
            let (status, value) = routing::switch_router(parts, name);
            return Ok((status, value.to_string()));
        }
        Call::Restart => routing::restart(parts)?,
        _ => return Err(Refusal::new(Code::NotFound, "no such path")),
    };
    Ok((200, value.to_string()))
}

fn now_ms() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)
}

async fn in_time<T>(work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = |_| Refusal::new(Code::Overloaded, "this took too long, and may still happen");
    timeout(WORK_TIME, work).await.map_err(late)?
}

async fn named(head: &mut Head) -> Result<String, Refusal> {
    let found = RawPathParams::from_request_parts(head, &()).await;
    let params = found.map_err(|_| Refusal::new(Code::InvalidRequest, "the path is not UTF-8"))?;
    Ok(params.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// Reads a body, bounded; also one that no call has a use for, to keep the connection in step.
async fn read(body: Body) -> Result<Bytes, Refusal> {
    match timeout(WORK_TIME, to_bytes(body, ADMIN_BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Refusal::new(Code::BodyTooLarge, "the body is too large or broke off")),
        Err(_) => Err(Refusal::new(Code::RequestTimeout, "the body did not come in time")),
    }
}

/// Runs what reads files or waits for threads where that hinders nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    match timeout(WORK_TIME, spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Refusal::new(Code::Internal, "the handler broke off")),
        Err(_) => Err(Refusal::new(Code::Overloaded, "this took too long, and may still happen")),
    }
}

fn refuse(refusal: &Refusal) -> Response {
    let mut response = json(refusal.status, &refusal.to_json());
    if refusal.status == StatusCode::UNAUTHORIZED.as_u16() {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    response
}

fn json(status: u16, body: &Value) -> Response {
    bytes(status, JSON, body.to_string())
}

fn bytes(status: u16, content_type: &'static str, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store"), NO_SNIFF];
    (status, headers, body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::handlers::sample;
    use crate::admin::routes::Method;
    use crate::engine::source::sample::{ADMIN_KEY, AGENT_KEY, Folder, yaml};
    use crate::record::sample as records;
    use serde_json::json;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::Ordering;

    /// A control API on a free port, for as long as it lives.
    struct Stand {
        folder: Folder,
        parts: Arc<Parts>,
        address: SocketAddr,
        _runtime: tokio::runtime::Runtime,
    }

    struct Answer {
        status: u16,
        head: String,
        body: String,
    }

    impl Answer {
        fn json(&self) -> Value {
            serde_json::from_str(&self.body).unwrap()
        }

        fn code(&self) -> (u16, String) {
            (self.status, self.json()["error"]["code"].as_str().unwrap().to_owned())
        }
    }

    fn stand(name: &str) -> Stand {
        let (folder, parts) = sample::parts(name);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, parts.clone(), std::future::pending()));
        Stand { folder, parts, address, _runtime: runtime }
    }

    impl Stand {
        fn send(&self, line: &str, headers: &str, body: &str) -> Answer {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let length = body.len();
            let request = format!(
                "{line} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\
                 content-length: {length}\r\n{headers}\r\n{body}"
            );
            // A refusal may come, and the connection go, before a large body is sent.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
            let status = head[9..12].parse().unwrap();
            Answer { status, head: head.to_owned(), body: body.to_owned() }
        }

        fn get(&self, path: &str) -> Answer {
            self.send(&format!("GET {path}"), "", "")
        }

        fn reload(&self, key: &str) -> Answer {
            self.send("POST /api/reload", &format!("x-api-key: {key}\r\n"), "{}")
        }
    }

    /// What a call that must be about something is about.
    fn body_for(path: &str) -> &'static str {
        const DEFENCE: [&str; 3] = ["validate-input", "filter-output", "prepare-system-prompt"];
        if DEFENCE.iter().any(|call| path.ends_with(call)) {
            r#"{"output": "text", "input": "text", "systemPrompt": "text"}"#
        } else {
            ""
        }
    }

    fn needs_key(route: &Route) -> bool {
        matches!(
            route.access,
            crate::admin::routes::Access::Admin | crate::admin::routes::Access::Agent
        )
    }

    #[test]
    fn every_route_of_the_table_is_served_and_described() {
        let stand = stand("table");
        let document = stand.get("/openapi.json").json();
        let paths = document["paths"].as_object().unwrap();
        // Those that are about one agent, or have no end, have tests of their own.
        for (path, operations) in
            paths.iter().filter(|(path, _)| !path.contains('{') && !path.ends_with("/stream"))
        {
            for method in operations.as_object().unwrap().keys() {
                let line = format!("{} {path}", method.to_uppercase());
                let key = format!("authorization: Bearer {ADMIN_KEY}\r\n");
                let answer = stand.send(&line, &key, body_for(path));
                // What needs a body or a parameter says so.
                let needs = operations[method].get("requestBody").is_some()
                    && body_for(path).is_empty()
                    || path == "/api/active";
                let expected = if needs { 400 } else { 200 };
                assert_eq!(answer.status, expected, "{line}: {}", answer.body);
                let described = &operations[method]["responses"];
                assert!(described[expected.to_string()].is_object(), "{line}");
            }
        }
        for route in ROUTES {
            assert!(paths[route.path][route.method.name()].is_object(), "{}", route.path);
            if route.method == Method::Get && !needs_key(route) {
                let head = stand.send(&format!("HEAD {}", route.path), "", "");
                assert_eq!((head.status, &*head.body), (200, ""), "{}", route.path);
            }
        }
    }

    #[test]
    fn a_reload_needs_an_admin_key_and_a_good_file() {
        let stand = stand("reload");
        assert_eq!(stand.send("POST /api/reload", "", "").code(), (401, "missing_key".into()));
        assert!(stand.send("POST /api/reload", "", "").head.contains("www-authenticate: Bearer"));
        assert_eq!(stand.reload("wrong").code(), (401, "invalid_key".into()));
        assert_eq!(stand.reload(AGENT_KEY).code(), (403, "agent_forbidden".into()));
        assert_eq!(stand.parts.live.load().snapshot.version, 1);
        stand.folder.write("weir.yaml", &yaml("two"));
        let answer = stand.reload(ADMIN_KEY);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let json = answer.json();
        assert_eq!((&json["status"], &json["version"]), (&"reloaded".into(), &2.into()));
        assert_eq!(json["agents"], serde_json::json!(["worker"]));
        stand.folder.write("weir.yaml", "providers: 5\nmodels: 7\n");
        let answer = stand.reload(ADMIN_KEY);
        assert_eq!(answer.code(), (422, "invalid_config".into()));
        assert!(answer.json()["error"]["problems"].as_array().unwrap().len() > 1);
        assert_eq!(stand.parts.live.load().snapshot.version, 2);
        assert_eq!((stand.get("/status").status, stand.get("/health").status), (503, 200));
    }

    #[test]
    fn what_does_not_exist_is_refused_in_json() {
        let stand = stand("none");
        assert_eq!(stand.get("/nothing").code(), (404, "not_found".into()));
        let answer = stand.send("DELETE /metrics", "", "");
        assert_eq!(answer.code(), (405, "method_not_allowed".into()));
        assert!(answer.head.contains("allow: GET,HEAD"), "{}", answer.head);
        let large = "x".repeat(ADMIN_BODY_BYTES_MAX + 1);
        let key = format!("x-api-key: {ADMIN_KEY}\r\n");
        assert_eq!(stand.send("POST /api/reload", &key, &large).status, 413);
        assert_eq!(stand.parts.live.load().snapshot.version, 1);
    }

    #[test]
    fn metrics_show_the_request_before_the_scrape() {
        let stand = stand("metrics");
        stand.parts.recorder.send(records::record());
        let answer = stand.get("/metrics");
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        assert!(answer.body.contains("weir_request_duration_seconds_count 1"), "{}", answer.body);
    }

    #[test]
    fn readiness_ends_when_the_process_stops_and_liveness_does_not() {
        let stand = stand("ready");
        assert_eq!(stand.get("/readyz").status, 200);
        stand.parts.draining.store(true, Ordering::Relaxed);
        assert_eq!(stand.get("/readyz").status, 503);
        assert_eq!(stand.get("/livez").status, 200);
    }

    impl Stand {
        fn call(&self, line: &str, key: &str, body: &Value) -> Answer {
            self.send(line, &format!("x-api-key: {key}\r\n"), &body.to_string())
        }

        fn add(&self, name: &str, kind: &str, more: &Value) -> Answer {
            let mut body = json!({
                "profile_name": name, "provider_type": kind, "credentials": {"api_key": "sk-MARKER-9"},
            });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.call("POST /admin/profiles", ADMIN_KEY, &body)
        }

        fn switch(&self, agent: &str, profile: &str, model: &str) -> Answer {
            let body = json!({"agent_id": agent, "profile_name": profile, "model_name": model});
            self.call("POST /api/switch", AGENT_KEY, &body)
        }
    }

    #[test]
    fn accounts_are_made_listed_and_removed_without_their_credentials() {
        let stand = stand("accounts");
        let made = stand.add("prod", "openai", &json!({}));
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!(made.json()["base_url"], "https://api.openai.com/v1");
        assert_eq!(stand.add("prod", "openai", &json!({})).code(), (409, "profile_exists".into()));
        assert_eq!(stand.add("openrouter", "openai", &json!({})).status, 409, "the file has it");
        assert_eq!(stand.add("two", "anthropic", &json!({})).status, 201);
        let listed = stand.call("GET /admin/profiles", ADMIN_KEY, &json!({}));
        assert_eq!(listed.json()["profiles"].as_array().unwrap().len(), 2);
        assert_eq!(stand.switch("worker", "prod", "gpt-4o").status, 200);
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let remove = format!("DELETE /admin/profiles/{id}");
        assert_eq!(
            stand.call(&remove, ADMIN_KEY, &json!({})).code(),
            (409, "profile_in_use".into())
        );
        assert_eq!(stand.switch("worker", "openrouter", "one").status, 200);
        assert_eq!(stand.call(&remove, ADMIN_KEY, &json!({})).status, 200);
        assert_eq!(
            stand.call(&remove, ADMIN_KEY, &json!({})).code(),
            (404, "profile_not_found".into())
        );
        assert!(![&made.body, &listed.body].iter().any(|body| body.contains("MARKER")));
        assert_eq!(stand.call("GET /admin/profiles", AGENT_KEY, &json!({})).status, 403);
    }

    #[test]
    fn bad_fields_are_named() {
        let stand = stand("fields");
        let cases = [
            (json!({"profile_name": ""}), "profile_name: is missing"),
            (json!({"profile_name": "a::b"}), "profile_name: must have"),
            (json!({"provider_type": "azure"}), "provider_type: must be one of openai, anthropic"),
            (json!({"provider_type": "openai_compatible"}), "base_url: is missing"),
            (json!({"credentials": {}}), "credentials.api_key: is missing"),
            (json!({"credentials": {"api_key": " "}}), "credentials.api_key: is missing"),
            (json!({"credentials": {"api_key": "sk\nx"}}), "credentials.api_key: must be visible"),
            (json!({"credentials": {"api_key": 5}}), "credentials.api_key: must be a text"),
            (json!({"credentials": "sk"}), "credentials: must be an object"),
            (json!({"base_url": "ftp://x"}), "base_url: must begin with"),
            (json!({"base_url": "http://me:pw@x/"}), "base_url: must not hold a user"),
            (json!({"base_url": "http://x/#a"}), "base_url: must not have a fragment"),
            (json!({"base_url": "http://127.0.0.1:9/v1"}), "base_url: leads to"),
            (json!({"base_url": "http://[::1]:9/v1"}), "base_url: leads to"),
            (json!({"base_url": "http://[::ffff:7f00:1]/v1"}), "base_url: leads to"),
            (json!({"base_url": "http://169.254.169.254/"}), "base_url: leads to"),
            (json!({"base_url": "http://localhost/v1"}), "base_url: leads to"),
            (json!({"base_url": "http://2130706433/v1"}), "base_url: has a number"),
            (json!({"base_url": "http://0177.0.0.1/v1"}), "base_url: has a number"),
            (json!({"base_url": "http://no-such-host.invalid/v1"}), "base_url: names a host"),
        ];
        for (more, expected) in cases {
            let answer = stand.add("x", "openai", &more);
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(answer.status == 400 && message.starts_with(expected), "{more}: {message}");
            assert!(!answer.body.contains("MARKER"));
        }
        let listed = stand.call("GET /admin/profiles", ADMIN_KEY, &json!({}));
        assert_eq!(listed.json(), json!({"profiles": []}));
    }

    #[test]
    fn models_can_be_added_disabled_and_switched_to() {
        let stand = stand("models");
        stand.add("o", "openai", &json!({}));
        stand.add("a", "anthropic", &json!({}));
        let put = |body: &Value| stand.call("POST /admin/models", ADMIN_KEY, body);
        let full = json!({
            "profile_name": "a", "model_name": "claude", "enabled": false, "tags": ["x"], "max_tokens": 9,
        });
        let made = put(&full).json();
        assert_eq!((&made["id"], &made["max_tokens"]), (&json!("a::claude"), &json!(9)));
        let unknown = put(&json!({"profile_name": "zz", "model_name": "m"}));
        assert_eq!(unknown.code(), (404, "profile_not_found".into()));
        let message =
            |answer: &Answer| answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(message(&stand.switch("worker", "a", "claude")), "model_name: is disabled");
        assert!(
            message(&stand.switch("worker", "a", "claude-9")).starts_with("model_name: is unknown")
        );
        assert_eq!(stand.switch("worker", "zz", "m").status, 404);
        assert_eq!(stand.switch("nobody", "o", "m").code(), (400, "unknown_agent".into()));
        let switched = stand.switch("worker", "o", "gpt-new").json();
        assert_eq!((&switched["created"], &switched["previous"]), (&json!(true), &Value::Null));
        let models = stand.call("GET /api/models?profile=o", AGENT_KEY, &json!({})).json();
        assert_eq!(models["models"][0]["id"], "o::gpt-new");
        assert_eq!(stand.call("GET /api/models?profile=zz", AGENT_KEY, &json!({})).status, 404);
        let all = stand.call("GET /api/models", AGENT_KEY, &json!({})).json();
        assert_eq!(all["models"].as_array().unwrap().len(), 3, "{all}");
        let active = stand.call("GET /api/active?agent_id=worker", AGENT_KEY, &json!({})).json();
        assert_eq!((&active["model"], &active["usable"]), (&json!("o::gpt-new"), &json!(true)));
        stand.switch("worker", "openrouter", "one");
        let audit = stand.call("GET /api/audit/switches?after=1", ADMIN_KEY, &json!({})).json();
        let row = &audit["switches"][0];
        assert_eq!((&row["from"], &row["to"]), (&json!("o::gpt-new"), &json!("openrouter::one")));
        assert_eq!(row["by"].as_str().unwrap().len(), 12);
        assert_eq!(stand.call("GET /api/audit/switches", AGENT_KEY, &json!({})).status, 403);
        let bad = stand.call("GET /api/audit/requests?limit=0", ADMIN_KEY, &json!({}));
        assert!(message(&bad).starts_with("limit: must be"));
    }
}
