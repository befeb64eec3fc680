//! Translation between two surfaces: the only file that names two dialects. It picks a reader and a
//! writer; what they do is the business of their rooms.
//!
//! Hot path: `benches/dialect.rs`, per request and per stream event.

use crate::base::surface::Surface;
use crate::dialect::canonical::event::{Event, Failure};
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::style::{Memory, Style, Target};
use crate::dialect::canonical::text::Text;
use crate::dialect::{anthropic, openai_chat, openai_responses};
use crate::wire::sse::{Decoder, Event as Block};

/// What the client speaks, and what the provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    client: Tongue,
    provider: Tongue,
}

/// A surface that can be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tongue {
    Chat,
    Responses,
    Messages,
}

impl Tongue {
    const fn of(surface: Surface) -> Option<Self> {
        match surface {
            Surface::Chat => Some(Self::Chat),
            Surface::Responses => Some(Self::Responses),
            Surface::Messages => Some(Self::Messages),
            _ => None,
        }
    }
}

/// A request in the provider's dialect.
#[derive(Clone, Debug)]
pub struct Translated {
    /// Its body.
    pub body: Vec<u8>,
    /// What was done to names, for the way back.
    pub memory: Memory,
    /// The fields that were left out.
    pub dropped: Vec<String>,
    /// The version of the API to ask for, where the dialect has several.
    pub version: Option<&'static str>,
}

impl Passage {
    /// The passage from a client's surface to a provider's; `None` if they are the same, or one of them
    /// cannot be translated.
    pub fn between(client: Surface, provider: Surface) -> Option<Self> {
        let (client, provider) = (Tongue::of(client)?, Tongue::of(provider)?);
        (client != provider).then_some(Self { client, provider })
    }

    /// Translates a request body, which must have been checked to be a JSON object.
    ///
    /// # Errors
    /// What is wrong with it in its own dialect, or cannot be said in the other one.
    pub fn request(
        &self,
        body: &[u8],
        target: &Target,
        strict: bool,
    ) -> Result<Translated, Refused> {
        let request = match self.client {
            Tongue::Chat => openai_chat::request::read(body),
            Tongue::Responses => openai_responses::request::read(body),
            Tongue::Messages => anthropic::request::read(body),
        }?;
        let mut losses = Losses::new(strict);
        losses.has_items = self.client == Tongue::Responses;
        // Room for quotes, keys and escapes that one dialect has and the other has not.
        let mut out = Vec::with_capacity(body.len() + body.len() / 8 + 512);
        let mut memory = match self.provider {
            Tongue::Chat => openai_chat::ask::write(&request, target, &mut losses, &mut out),
            Tongue::Responses => {
                openai_responses::ask::write(&request, target, &mut losses, &mut out)
            }
            Tongue::Messages => anthropic::ask::write(&request, target, &mut losses, &mut out),
        }?;
        if self.client == Tongue::Responses {
            memory.echo = openai_responses::echo::read(body);
        }
        let version =
            (self.provider == Tongue::Messages).then(|| anthropic::ask::version(&request));
        Ok(Translated { body: out, memory, dropped: losses.into_dropped(), version })
    }

    /// Translates a whole answer; `None` if it is none.
    pub fn answer(&self, body: &[u8], style: &Style) -> Option<Vec<u8>> {
        let answer = match self.provider {
            Tongue::Chat => openai_chat::answer::read(body),
            Tongue::Responses => openai_responses::answer::read(body),
            Tongue::Messages => anthropic::answer::read(body),
        }?;
        let mut out = Vec::with_capacity(body.len() + 512);
        match self.client {
            Tongue::Chat => openai_chat::reply::write(&answer, style, &mut out),
            Tongue::Responses => openai_responses::reply::write(&answer, style, &mut out),
            Tongue::Messages => anthropic::reply::write(&answer, style, &mut out),
        }
        Some(out)
    }

    /// Translates the body of an error answer, whatever it is, and its status.
    pub fn failure(&self, status: u16, body: &[u8]) -> (u16, Vec<u8>) {
        let failure = match self.provider {
            Tongue::Chat => openai_chat::failure::read(status, body),
            Tongue::Responses => openai_responses::failure::read(status, body),
            Tongue::Messages => anthropic::failure::read(status, body),
        };
        let mut out = Vec::with_capacity(body.len() + 128);
        let status = match self.client {
            Tongue::Chat => openai_chat::failure::write(&failure, &mut out),
            Tongue::Responses => openai_responses::failure::write(&failure, &mut out),
            Tongue::Messages => anthropic::failure::write(&failure, &mut out),
        };
        (status, out)
    }

    /// A translator of one stream.
    pub fn stream(&self, style: Style) -> Stream {
        let reader = match self.provider {
            Tongue::Chat => Reader::Chat(openai_chat::stream::Reader::new()),
            Tongue::Responses => Reader::Responses(openai_responses::stream::Reader::new()),
            Tongue::Messages => Reader::Messages(anthropic::stream::Reader::new()),
        };
        let writer = match self.client {
            Tongue::Chat => Writer::Chat(openai_chat::play::Writer::new(style)),
            Tongue::Responses => Writer::Responses(openai_responses::play::Writer::new(style)),
            Tongue::Messages => Writer::Messages(anthropic::play::Writer::new(style)),
        };
        Stream {
            decoder: Decoder::new(),
            reader,
            player: Player { writer, has_begun: false, is_over: false, has_failed: false },
        }
    }
}

/// A translator of one stream, fed with chunks cut anywhere.
#[derive(Debug)]
pub struct Stream {
    decoder: Decoder,
    reader: Reader,
    player: Player,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is boxed as part of its stream")]
enum Reader {
    Chat(openai_chat::stream::Reader),
    Responses(openai_responses::stream::Reader),
    Messages(anthropic::stream::Reader),
}

#[derive(Debug)]
enum Writer {
    Chat(openai_chat::play::Writer),
    Responses(openai_responses::play::Writer),
    Messages(anthropic::play::Writer),
}

/// Writes until the stream has ended, one way or the other.
#[derive(Debug)]
struct Player {
    writer: Writer,
    has_begun: bool,
    is_over: bool,
    has_failed: bool,
}

impl Stream {
    /// Translates what these bytes complete, and appends it to `out` at once.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Self { decoder, reader, player } = self;
        decoder.feed(chunk, |block| reader.block(&block, &mut |event| player.play(&event, out)));
    }

    /// The provider's bytes are over. Nothing is invented: if the stream had no end, it has none here.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Self { decoder, reader, player } = self;
        decoder.finish(|block| reader.block(&block, &mut |event| player.play(&event, out)));
        reader.finish(&mut |event| player.play(&event, out));
    }

    /// Whether the client has been told the end, or an error.
    pub const fn is_over(&self) -> bool {
        self.player.is_over
    }

    /// Whether what the client has been told is an error: the provider's, or that its answer cannot be
    /// told in the client's dialect.
    pub const fn has_failed(&self) -> bool {
        self.player.has_failed
    }

    /// The number of the event that would come next, where the client's dialect numbers them; else 0.
    pub const fn next_number(&self) -> u64 {
        match &self.player.writer {
            Writer::Responses(writer) => writer.next_number(),
            Writer::Chat(_) | Writer::Messages(_) => 0,
        }
    }
}

impl Reader {
    fn block(&mut self, block: &Block<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        if block.oversized {
            let message = Text::of("an event of the provider was larger than the gateway reads");
            return sink(Event::Error(Failure { message: Some(message), ..Failure::default() }));
        }
        if !block.has_data {
            return sink(Event::Ping);
        }
        match self {
            Self::Chat(reader) => reader.read(block.name, block.data, sink),
            Self::Responses(reader) => reader.read(block.name, block.data, sink),
            Self::Messages(reader) => reader.read(block.name, block.data, sink),
        }
    }

    fn finish(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        match self {
            Self::Chat(reader) => reader.finish(sink),
            Self::Responses(reader) => reader.finish(sink),
            Self::Messages(reader) => reader.finish(sink),
        }
    }
}

impl Player {
    fn play(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        self.has_begun |= matches!(event, Event::Start(_));
        if !self.has_begun && matches!(event, Event::End) {
            // An end alone would be a success without an answer, which clients cannot even read.
            let message = Text::of("the provider ended the stream before it began an answer");
            let message = Some(message);
            let none = Failure { status: Some(502), message, ..Failure::default() };
            return self.play(&Event::Error(none), out);
        }
        // A writer may also fail by itself, at any event.
        self.is_over = match &mut self.writer {
            Writer::Chat(writer) => {
                writer.write(event, out);
                writer.is_over()
            }
            Writer::Responses(writer) => {
                writer.write(event, out);
                writer.is_over()
            }
            Writer::Messages(writer) => {
                writer.write(event, out);
                writer.is_over()
            }
        };
        self.has_failed = self.is_over && !matches!(event, Event::End);
    }
}
