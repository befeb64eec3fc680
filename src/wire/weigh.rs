//! What a body weighs: everything in it that decides how much the request can cost at most.
//!
//! Hot path: `benches/envelope.rs`. One walk along the structure of a body that was scanned before;
//! words that merely stand in a text are never taken for fields. What cannot be bounded from the body
//! is named, not guessed; prices and limits are the business of `usage::bound`.

use crate::wire::envelope::Envelope;
use crate::wire::growth;
use crate::wire::json;
use crate::wire::part::{self, Part, Payload, Reason, Tool};
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// What decides about the size of one request. Counts are upper bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of the body or of its NFKC form, whichever is more, without images in base64. A
    /// byte-level tokenizer makes no more tokens of it than it has bytes.
    pub text_bytes: u64,
    /// Messages, items and prompts: each has a frame of a few tokens around it.
    pub messages: u64,
    /// Tools that the provider describes to the model itself, at the client's cost.
    pub builtin_tools: u64,
    /// Images.
    pub images: u32,
    /// Pieces of sound.
    pub audio: u32,
    /// Answers that are paid: `n` or `best_of`, for each prompt of a list.
    pub answers: u64,
    /// Tokens of output beside the answers: a prediction is billed where it is not met.
    pub predicted_bytes: u64,
    /// The first reason why there may be more input than the body shows. It is bounded by the
    /// context window only.
    pub unbounded: Option<Reason>,
    /// The first reason why not even the context window bounds the cost.
    pub open: Option<Reason>,
    /// Tools that the provider runs: each run bills the input again.
    pub server_tools: ServerTools,
    /// Tokens that are to be set aside for thinking; the cap of the output must be above.
    pub thinking_tokens: Option<u64>,
    /// Whether it asks for a cache of long life, the writing of which is dearer.
    pub long_cache: bool,
    /// The service tier asked for.
    pub service_tier: Option<Tier>,
    /// Whether it asks for the fast and dear way (`speed`).
    pub fast: bool,
    /// Whether it names a region (`inference_geo`), which may cost more.
    pub region: bool,
}

/// How often a provider may run tools for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTools {
    /// It has none to run.
    #[default]
    None,
    /// As many times at most.
    Limited(u64),
    /// The body names no limit, or not for all of them.
    Unlimited,
}

/// The service tier that a body asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// What the project's settings say.
    Auto,
    /// The ordinary one (`default`, `standard_only`).
    Default,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer (`priority`, `fast`).
    Priority,
    /// One that is not known, or several at once.
    Other,
}

impl Tier {
    /// The tier of that value, as written in the body.
    fn read(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"null" => return None,
            b"\"auto\"" => Self::Auto,
            b"\"default\"" | b"\"standard_only\"" | b"\"standard\"" => Self::Default,
            b"\"flex\"" => Self::Flex,
            b"\"priority\"" | b"\"fast\"" => Self::Priority,
            _ => Self::Other,
        })
    }
}

/// Weighs a body that `envelope::scan` has found `envelope` in.
pub fn weigh(envelope: &Envelope, body: &[u8]) -> Weight {
    let mut scale = Scale {
        body,
        pull: Pull::new(body, Span::whole(body)),
        weight: Weight { answers: envelope.answers().unwrap_or(1).max(1), ..Weight::default() },
        prompts: 1,
        image_bytes: 0,
        runs: Runs::default(),
    };
    scale.request();
    let Scale { mut weight, image_bytes, prompts, runs, .. } = scale;
    let grown = growth::growth(body, envelope.is_wide());
    weight.text_bytes = (body.len() as u64).saturating_sub(image_bytes) + grown;
    weight.answers = weight.answers.saturating_mul(prompts);
    weight.server_tools = runs.most();
    weight
}

/// What was read about tools that the provider runs.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    /// `max_tool_calls`.
    of_request: Option<u64>,
    /// The sum over the tools that have a limit of their own.
    of_tools: u64,
    /// Whether one has none.
    unlimited: bool,
    /// Whether there is any such tool.
    any: bool,
}

impl Runs {
    /// Adds a tool that runs as many times at most.
    fn add(&mut self, runs_max: Option<u64>) {
        self.any = true;
        self.unlimited |= runs_max.is_none();
        self.of_tools = self.of_tools.saturating_add(runs_max.unwrap_or(0));
    }

    fn most(self) -> ServerTools {
        match (self.any, self.of_request, self.unlimited) {
            (false, ..) => ServerTools::None,
            (true, Some(runs), true) => ServerTools::Limited(runs),
            (true, runs, false) => {
                ServerTools::Limited(self.of_tools.min(runs.unwrap_or(u64::MAX)))
            }
            (true, None, true) => ServerTools::Unlimited,
        }
    }
}

/// A body on its way over the scale.
struct Scale<'b> {
    body: &'b [u8],
    pull: Pull<'b>,
    weight: Weight,
    prompts: u64,
    image_bytes: u64,
    runs: Runs,
}

/// What was seen of one part, item or message.
#[derive(Default)]
struct Seen {
    /// The value of `type`.
    kind: Option<Span>,
    /// More than one `type`: readers may differ about which one holds.
    twice: bool,
    /// Something that only messages and outputs of shells have, which need no type.
    untyped: bool,
    /// The picture or document.
    media: Option<Media>,
    /// Whether hidden reasoning is sealed in it.
    sealed: bool,
}

/// Where a part says what it shows.
#[derive(Clone, Copy)]
enum Media {
    /// A `source`, as Messages has it.
    Source(Span),
    /// A URL, or an object with one in it.
    Url(Span),
}

impl Scale<'_> {
    /// The one object of the body.
    fn request(&mut self) {
        self.pull.enter();
        while let Some(key) = self.pull.key() {
            let key = part::plain(key.of(self.body));
            match &*key {
                b"messages" | b"input" | b"system" => self.content(true),
                b"prompt" => self.prompt(),
                b"tools" => self.tools(),
                _ => {
                    let value = self.pull.skip();
                    self.field(&key, value.of(self.body));
                }
            }
        }
    }

    /// A small field of the request.
    fn field(&mut self, key: &[u8], token: &[u8]) {
        let given = !matches!(token, b"null" | b"false" | b"[]" | b"{}");
        match key {
            b"best_of" => self.weight.answers = self.weight.answers.max(count(token)),
            b"service_tier" => self.service_tier(Tier::read(token)),
            b"max_tool_calls" => self.runs.of_request = given.then(|| count(token)),
            b"thinking" => self.weight.thinking_tokens = thinking(token),
            b"prediction" if given => self.weight.predicted_bytes = token.len() as u64,
            b"speed" => self.weight.fast |= given && token != b"\"standard\"",
            b"inference_geo" => self.weight.region |= given,
            b"cache_control" => self.cache_control(token),
            b"prompt_cache_options" | b"prompt_cache_retention" => self.weight.long_cache |= given,
            b"previous_response_id" if given => self.hide(Reason::PreviousResponse),
            b"conversation" if given => self.hide(Reason::Conversation),
            b"container" if given => self.hide(Reason::Document),
            b"web_search_options" | b"mcp_servers" | b"plugins" if given => self.runs.add(None),
            b"background" if given => self.leave_open(Reason::Background),
            b"models" | b"fallbacks" if given => self.leave_open(Reason::OtherModel),
            b"context_management" if compacts(token) => self.leave_open(Reason::Compaction),
            b"modalities" if given && token != b"[\"text\"]" => {
                self.leave_open(Reason::OutputMedia);
            }
            _ => {}
        }
    }

    fn service_tier(&mut self, tier: Option<Tier>) {
        let seen = &mut self.weight.service_tier;
        *seen = match (*seen, tier) {
            (Some(a), Some(b)) if a != b => Some(Tier::Other),
            (a, b) => b.or(a),
        };
    }

    fn cache_control(&mut self, token: &[u8]) {
        // Anything but the known short form counts as long.
        let short = token == b"null"
            || !token.contains(&b'\\') && json::find(token, Span::whole(token), "ttl").is_none()
            || json::find(token, Span::whole(token), "ttl")
                .is_some_and(|ttl| ttl.of(token) == b"\"5m\"");
        self.weight.long_cache |= !short;
    }

    fn hide(&mut self, reason: Reason) {
        self.weight.unbounded.get_or_insert(reason);
    }

    fn leave_open(&mut self, reason: Reason) {
        self.weight.open.get_or_insert(reason);
    }

    /// A completion's prompt or prompts, each of which gets its own answers; or a prompt that is
    /// kept at the provider.
    fn prompt(&mut self) {
        match self.pull.peek() {
            b'{' => {
                self.pull.skip();
                self.hide(Reason::StoredPrompt);
            }
            b'[' => {
                self.pull.enter();
                let mut prompts: u64 = 0;
                while self.pull.item() {
                    // One prompt may also be a list of token numbers.
                    prompts += u64::from(matches!(self.pull.peek(), b'"' | b'['));
                    self.pull.skip();
                }
                self.prompts = prompts.max(1);
                self.weight.messages += prompts;
            }
            _ => {
                self.pull.skip();
            }
        }
    }

    /// The tools on offer.
    fn tools(&mut self) {
        if self.pull.peek() != b'[' {
            self.pull.skip();
            return;
        }
        self.pull.enter();
        while self.pull.item() {
            if self.pull.peek() == b'{' {
                self.tool();
            } else {
                self.pull.skip();
            }
        }
    }

    fn tool(&mut self) {
        let (mut kind, mut runs_max) = (None, None);
        self.pull.enter();
        while let Some(key) = self.pull.key() {
            let key = part::plain(key.of(self.body));
            if &*key == b"tools" {
                self.tools();
                continue;
            }
            let value = self.pull.skip().of(self.body);
            match &*key {
                b"type" => {
                    let this = Tool::of_type(&name(value));
                    kind = Some(if kind.is_some_and(|other| other != this) {
                        Tool::Server
                    } else {
                        this
                    });
                }
                b"max_uses" if value != b"null" => runs_max = Some(count(value)),
                b"cache_control" => self.cache_control(value),
                _ => {}
            }
        }
        match kind.unwrap_or(Tool::Described) {
            Tool::Described | Tool::Folder => {}
            Tool::Builtin => self.weight.builtin_tools += 1,
            Tool::Server => self.runs.add(runs_max),
        }
    }

    /// The content of something: a text, a list of parts or one part.
    fn content(&mut self, counted: bool) {
        match self.pull.peek() {
            b'[' => {
                self.pull.enter();
                while self.pull.item() {
                    self.weight.messages += u64::from(counted);
                    if self.pull.peek() == b'{' {
                        self.part();
                    } else {
                        self.pull.skip();
                    }
                }
            }
            b'{' => self.part(),
            _ => {
                self.pull.skip();
            }
        }
    }

    /// One message, item or part; `content` may hold more of them.
    fn part(&mut self) {
        let mut seen = Seen::default();
        self.pull.enter();
        while let Some(key) = self.pull.key() {
            let key = part::plain(key.of(self.body));
            match &*key {
                b"content" | b"output" | b"images" => self.content(false),
                _ => {
                    let value = self.pull.skip();
                    self.part_field(&mut seen, &key, value);
                }
            }
        }
        self.judge(&seen);
    }

    fn part_field(&mut self, seen: &mut Seen, key: &[u8], value: Span) {
        let token = value.of(self.body);
        match key {
            b"type" => seen.twice |= seen.kind.replace(value).is_some(),
            b"role" | b"stdout" => seen.untyped = true,
            b"image_url" if token != b"null" => seen.media = Some(Media::Url(value)),
            b"source" => seen.media = Some(Media::Source(value)),
            b"encrypted_content" => seen.sealed = token.starts_with(b"\""),
            b"cache_control" => self.cache_control(token),
            // The sound of an earlier answer, named by its number.
            b"audio" if token != b"null" => self.sound(),
            _ => {}
        }
    }

    fn judge(&mut self, seen: &Seen) {
        let part = match seen.kind {
            _ if seen.twice => Part::Hidden(Reason::UnknownPart),
            Some(kind) if kind.of(self.body) != b"null" => Part::of_type(&name(kind.of(self.body))),
            _ if seen.untyped => Part::Text,
            _ => Part::Hidden(Reason::UnknownPart),
        };
        match part {
            Part::Text => {}
            Part::Image => self.image(seen),
            Part::Audio => self.sound(),
            Part::Document => self.document(seen),
            Part::Reasoning if seen.sealed => {}
            Part::Reasoning => self.hide(Reason::StoredItem),
            Part::Hidden(reason) => self.hide(reason),
        }
    }

    fn sound(&mut self) {
        self.weight.audio = self.weight.audio.saturating_add(1);
        self.leave_open(Reason::Audio);
    }

    /// An image costs by its size in pixels, whatever its bytes.
    fn image(&mut self, seen: &Seen) {
        self.weight.images = self.weight.images.saturating_add(1);
        let payload = match seen.media {
            None => return,
            Some(Media::Source(source)) => part::of_source(self.body, source),
            Some(Media::Url(media)) => {
                let url = json::find(self.body, media, "url").unwrap_or(media);
                part::of_url(url.of(self.body))
            }
        };
        match payload {
            Payload::Image(bytes) => self.image_bytes += bytes as u64,
            Payload::Elsewhere => {}
            Payload::NoImage => self.hide(Reason::Document),
        }
    }

    /// A document of `Messages`: text, parts, or something with pages.
    fn document(&mut self, seen: &Seen) {
        let Some(Media::Source(source)) = seen.media else {
            return self.hide(Reason::Document);
        };
        let mut parts = None;
        let mut bounded = None;
        for member in json::members(self.body, source) {
            match &*part::plain(member.key.of(self.body)) {
                b"type" => {
                    let kind = member.value.of(self.body);
                    let text = matches!(kind, b"\"text\"" | b"\"content\"");
                    bounded = Some(text && bounded.unwrap_or(true));
                }
                b"content" => parts = Some(member.value),
                _ => {}
            }
        }
        if bounded != Some(true) {
            self.hide(Reason::Document);
        }
        let Some(parts) = parts else { return };
        let outer = std::mem::replace(&mut self.pull, Pull::new(self.body, parts));
        self.content(false);
        self.pull = outer;
    }
}

/// The text of a string value; what is no string has none.
fn name(token: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let raw = token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    part::plain(raw.unwrap_or_default())
}

/// A count; what is none is as large as can be.
fn count(token: &[u8]) -> u64 {
    if token == b"null" {
        return 0;
    }
    std::str::from_utf8(token).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

fn thinking(token: &[u8]) -> Option<u64> {
    let budget = json::find(token, Span::whole(token), "budget_tokens")?.of(token);
    std::str::from_utf8(budget).ok()?.parse().ok()
}

/// Whether management of the context may start a run to shorten it. Only the known harmless edits
/// do not.
fn compacts(token: &[u8]) -> bool {
    let whole = Span::whole(token);
    let edits = json::find(token, whole, "edits").unwrap_or(whole);
    let mut pull = Pull::new(token, edits);
    if token == b"null" {
        return false;
    }
    if pull.peek() != b'[' {
        return true;
    }
    pull.enter();
    let mut harmless = true;
    while pull.item() {
        let edit = pull.skip();
        let kind = json::find(token, edit, "type").map(|kind| name(kind.of(token)).into_owned());
        harmless &= kind.is_some_and(|kind| kind.starts_with(b"clear_"));
    }
    !harmless
}
