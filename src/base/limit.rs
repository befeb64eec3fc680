//! Every bound of the program that is not a configuration key, with its reason.
//!
//! A buffer, queue, map, loop or wait anywhere else takes its limit from here (or from the
//! configuration, whose defaults and ranges live in `config::bound`).

/// Depth of nested JSON in a request. Deeper bodies are refused: no provider takes them, and a
/// bound keeps the scan's state on the stack.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of one SSE event that the meter will buffer. Larger events (images as base64, long tool
/// arguments) still pass through untouched, but are not read (`wire.md` section 8).
pub const SSE_EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a JSON answer kept to meter it and to add our own object. Beyond it the answer passes
/// through as it comes: embeddings of a full batch stay below this.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the members that are kept of a JSON answer larger than that, to learn what it used. A usage
/// report has hundreds; with all turns of a long agent loop it has some ten thousand.
pub const LONG_ANSWER_KEPT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a failed attempt's body kept so that it can be returned if every candidate fails; a larger one
/// is never shown in part. Provider errors are below 4 KiB; the rest is room for error pages with pictures in
/// them, of which few are on their way at a time.
pub const ERROR_BODY_BYTES_MAX: usize = 512 * 1024;

/// Milliseconds to wait for the body of a failed attempt before the next candidate is tried.
pub const ERROR_BODY_WAIT_MS: u64 = 1_000;

/// Bytes of a 200 stream that are held back before its first event is complete.
pub const HOLD_BYTES_MAX: usize = 64 * 1024;

/// Milliseconds that a 200 answer is held back while only comments or blank lines arrive. After
/// that they are passed on as the keep-alives they are, and no other candidate can be tried.
pub const FIRST_EVENT_HOLD_MS: u64 = 5_000;

/// Characters of a model name. The longest names in the field have about 120.
pub const MODEL_NAME_BYTES_MAX: usize = 256;

/// Characters of `X-Agent-ID` and `X-Session-ID`.
pub const ID_HEADER_BYTES_MAX: usize = 128;

/// Milliseconds for a whole request head, the idle time of a kept-alive connection included.
/// Pingora's own timeout is per read, so that one byte a second would live for ever.
pub const HEAD_MS_MAX: u64 = 30_000;

/// Milliseconds for a whole request body. 32 MiB in this time is 280 KiB/s.
pub const BODY_MS_MAX: u64 = 120_000;

/// Close model names listed in a `model_not_found` answer.
pub const CLOSE_NAMES_MAX: usize = 3;

/// Records that may wait for the recorder. With a full queue the sender counts its record itself, so
/// that no money is lost, and only the log line is; at 300 bytes to 1 KiB each this is 16 MiB at most.
pub const RECORD_QUEUE_MAX: usize = 16 * 1024;

/// Distinct models named in metrics that are not in the configuration (wildcard routes): more than
/// this are counted as `other`, so that clients cannot grow our memory with names.
pub const METRIC_LABELS_MAX: usize = 1_000;

/// Seconds between two looks at the configuration file under `--watch`.
pub const WATCH_INTERVAL_MS: u64 = 1_000;

/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a file of certificates or of a key: four times what all public authorities need.
pub const CA_BYTES_MAX: usize = 1024 * 1024;

/// Sets of certificates kept in the form that connections need. Reloads with others leave old ones
/// behind; beyond this all are made anew.
pub const CA_SETS_MAX: usize = 64;

/// Longest rest, in milliseconds, that a `retry-after` of an upstream can impose on an endpoint.
pub const COOLDOWN_MS_MAX: u64 = 10 * 60 * 1_000;

/// Seconds that an endpoint rests after it refused our credential: a wrong key does not heal by
/// itself, and each try of it delays a request.
pub const AUTH_REST_MS: u64 = 60_000;

/// Bytes reserved at once for an announced request body. A client's word is no reason to hold more
/// memory than it has sent; beyond this the buffer grows by doubling.
pub const BODY_RESERVE_MAX: usize = 2 * 1024 * 1024;

/// Bytes of an attempt's body up to which its pieces are joined into one buffer: copying a few KiB is
/// cheaper than further trips through the proxy's body pipe.
pub const JOIN_BYTES_MAX: usize = 32 * 1024;

/// Bytes of an unfinished SSE event that are held back until it is complete, so that a broken stream
/// can end in a whole error event. A larger event passes in pieces: it can be no usage event.
pub const TAIL_BYTES_MAX: usize = 64 * 1024;

/// Abandoned streams that may be read on at the same time to learn their usage.
pub const DRAINS_MAX: usize = 256;

/// Milliseconds that a resolved provider address is used before it is looked up again.
pub const DNS_TTL_MS: u64 = 30_000;

/// Milliseconds for one look-up of a provider's address.
pub const DNS_WAIT_MS: u64 = 5_000;

/// Bytes of a request body of the control API.
pub const ADMIN_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Connections to the control API at the same time; more wait in the kernel's queue.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;

/// Milliseconds in which a client of the control API has to send its whole request, or read some of
/// its answer, counted from the last byte that it got. Idle connections end by it too.
pub const ADMIN_SILENCE_MS_MAX: u64 = 30_000;

/// Milliseconds for the work behind one request of the control API.
pub const ADMIN_WORK_MS_MAX: u64 = 10_000;

/// Milliseconds that `/metrics` waits for records that are still on their way.
pub const SCRAPE_FLUSH_MS: u64 = 250;

/// Streams at the same time on one HTTP/2 connection of a client.
pub const H2_STREAMS_MAX: u32 = 128;

/// Idle connections to providers that are kept open, per worker pool.
pub const IDLE_UPSTREAMS_MAX: usize = 1_024;

/// Attempts that Pingora itself may make. Ours are bounded by `routing.attempts_max`; this only ends
/// a loop that a mistake would make endless.
pub const PROXY_TRIES_MAX: usize = 40;

/// Milliseconds between two looks whether the last request has ended, while the process stops.
pub const DRAIN_LOOK_MS: u64 = 20;

/// Milliseconds before the end of a stop's grace at which answers that are still under way are ended in words:
/// time to write one last event to each of some ten thousand streams, and to settle them. It is taken from the
/// grace, and is half of it at most.
pub const FAREWELL_MS: u64 = 1_000;

/// Seconds that Pingora waits at the least before it drops what still runs: without a grace, too, answers end
/// in words.
pub const STOP_SECONDS_MIN: u64 = 1;

/// Bytes of the write buffer of a client's connection. Head and body of a short answer fit into it and
/// leave in one system call; each further one costs 7 of the 35 us of a small request.
pub const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes of a request that the system always takes at once: a quarter of the send buffer that a
/// connection begins with. Writing so little cannot block, and needs no timer.
pub const UNTIMED_BYTES_MAX: usize = 4 * 1024;

/// Milliseconds that a new process waits for the admin port of the one it takes over from.
pub const HANDOVER_MS_MAX: u64 = 60_000;

/// Milliseconds that the demonstration waits for its gateway.
pub const DEMO_START_MS_MAX: u64 = 10_000;

/// Milliseconds that an idle connection to a provider is kept: below the 60 s or more after which the
/// large providers close theirs, so that we seldom take one that is just being closed.
pub const IDLE_UPSTREAM_MS_MAX: u64 = 55_000;

/// Bytes of the read buffer below TLS on a client's connection: one record.
pub const TLS_READ_BUFFER_BYTES: usize = 17 * 1024;

/// Bytes that one read of a compressed answer may unpack to.
pub const INFLATED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Milliseconds that kept connections of clients are left open when the process begins to stop: a
/// request that is just on its way is still answered, and told that the connection closes.
pub const LINGER_MS: u64 = 1_000;

/// Accounts from a leaf of the budget tree to its root. The fleet, teams in teams, the agent and its
/// session need five or six; a bound keeps a hold cheap, and ends a walk that a damaged ledger would
/// make endless.
pub const BUDGET_DEPTH_MAX: usize = 16;

/// Refunds that the book remembers, so that none is made twice while the store has not kept the first.
/// That takes milliseconds; this many are made in hours.
pub const REFUNDS_REMEMBERED_MAX: usize = 4_096;

/// Milliseconds for which the book knows each period that is over by itself, in case that another calendar
/// reaches back into it: two days, so that hourly periods take a few kilobytes an account. Older ones are
/// known by the day.
pub const PAST_PERIODS_MS_MAX: i64 = 2 * 86_400_000;

/// Milliseconds for which the book knows what was spent day by day. No period but the endless one is
/// longer than 31 days; what lies before is one sum.
pub const PAST_PIECES_MS_MAX: i64 = 40 * 86_400_000;

/// Entries that are added up, when the calendar of an account changes, to learn what it has spent since its
/// new period began: a few tenths of a second, for which no hold is written. Behind more of them all counts
/// that the period before had spent.
pub const CARRIED_ENTRIES_MAX: u32 = 200_000;

/// Accounts of changed calendars that wait for that look: more than a configuration has as a rule, and half
/// a megabyte. For those beyond it all counts that the period before had spent.
pub const CARRIED_STRETCHES_MAX: usize = 8_192;

/// Milliseconds that a statement of the ledger waits for the lock of another process: a hand-over's
/// two processes take turns of milliseconds, and a reader never takes it.
pub const STORE_BUSY_MS_MAX: u64 = 5_000;

/// Sessions given to the book at the start, those made last. Older ones are looked up when they come
/// back; at some 200 bytes each this is 4 MiB and 100 ms of the start.
pub const STORE_SESSIONS_MAX: u32 = 20_000;

/// Interned paths and names that the store remembers. Beyond it they are forgotten and looked up
/// again; at some 300 bytes each this is 5 MiB.
pub const STORE_INTERNED_MAX: usize = 16 * 1024;

/// Bytes that the ledger's write-ahead log keeps on disk after a checkpoint; longer ones are cut.
pub const STORE_WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Broken places that `weir ledger verify` lists; more are only counted.
pub const VERIFY_FOUND_MAX: usize = 100;

/// Entries that may wait for the ledger's store. With more no hold is placed, because the store stands
/// still; at some 200 bytes each this is 13 MiB.
pub const LEDGER_QUEUE_MAX: usize = 64 * 1024;

/// Milliseconds that a settlement waits for others to share its transaction; the next hold takes it along.
/// Nobody waits for it; until it is durable, a loss of the process counts its hold as spent.
pub const LEDGER_LINGER_MS: u64 = 200;

/// Milliseconds between two tries of a transaction that has failed.
pub const LEDGER_RETRY_MS: u64 = 500;

/// Milliseconds between two looks at a ledger that another process still uses: the one that is handing
/// over to this one.
pub const LEDGER_WATCH_MS: u64 = 200;

/// Bytes of a provider's name for one attempt that are kept. `OpenRouter`'s have 29, and each request's is
/// in the ledger for ever; longer ones are not known to anybody.
pub const GENERATION_BYTES_MAX: usize = 64;

/// Milliseconds between two looks for attempts in limbo whose cost can be asked for.
pub const LOOKUP_SCAN_MS: u64 = 1_000;

/// Calls about lost attempts in one look, so that a mass of them is no mass of calls.
pub const LOOKUPS_PER_SCAN: usize = 8;

/// Lost attempts that one look reads from the ledger; the newest, since the oldest may never be answered.
pub const LOOKUPS_MAX: usize = 256;

/// Calls about one lost attempt. A provider knows the cost seconds after the end; with the waits between
/// them, this many take an hour.
pub const LOOKUP_TRIES_MAX: u32 = 12;

/// Milliseconds before the second call about a lost attempt, and the longest wait between two.
pub const LOOKUP_BACKOFF_MS: (u64, u64) = (1_000, 900_000);

/// Age in milliseconds from which nobody asks about a lost attempt any more; an administrator still can.
pub const LOOKUP_AGE_MS_MAX: i64 = 24 * 3_600_000;

/// Bytes of a provider's answer about one attempt.
pub const LOOKUP_ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Tries to keep what is told of an account while another process tells something of it too. Each of them
/// tells a level once.
pub const TELL_TRIES_MAX: usize = 4;

/// Alerts that wait for a web hook. Levels change a few times a day; more than this means that nobody
/// takes them.
pub const ALERTS_WAITING_MAX: usize = 64;

/// Alerts about canaries among them. Whoever makes an answer leak can do so as often as he likes; he must not
/// crowd out what is to be told about money.
pub const CANARY_ALERTS_WAITING_MAX: usize = 16;

/// Milliseconds to look up and reach the console or the web hook.
pub const OUTGOING_CONNECT_MS: u64 = 5_000;

/// Milliseconds for one whole call of the console or the web hook. They are made beside the traffic, so
/// this only bounds how long news wait behind a service that stands still.
pub const OUTGOING_CALL_MS: u64 = 10_000;

/// Milliseconds between two looks of the threads that call the console and the web hook: whether there is
/// something to tell, and whether the configuration says otherwise by now.
pub const OUTGOING_LOOK_MS: u64 = 1_000;

/// Milliseconds that the end of the process waits for a call that is just being made.
pub const OUTGOING_LAST_WAIT_MS: u64 = 2_000;

/// Bytes of the console's answer: at 100 bytes for a budget, those of 40,000 agents.
pub const CONSOLE_ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The longest wait, in milliseconds, after failed exchanges with the console, unless its interval itself
/// is longer: a console that is back is heard within this time.
pub const CONSOLE_BACKOFF_MS_MAX: u64 = 5 * 60 * 1_000;

/// Accounts that the console names and nobody knows, remembered so that each is told once.
pub const CONSOLE_UNKNOWN_MAX: usize = 256;

/// Tries of one alert at the web hook, with 1, 2, 4 and 8 s between them. Later it is no news.
pub const ALERT_TRIES_MAX: u32 = 5;

/// Milliseconds before an alert is tried again for the first time, and at most.
pub const ALERT_BACKOFF_MS: (u64, u64) = (1_000, 30_000);

/// Holds in limbo that one answer of the control API lists, oldest first.
pub const LIMBO_LISTED_MAX: usize = 1_000;

/// Numbers of accounts that a process leaves free for the sessions which the one that it takes over from
/// may still open. That one takes no new connections any more; a number used twice would stop the ledger.
pub const HANDOVER_ACCOUNTS: u32 = 65_536;

/// Hashes of each kind that are kept per agent to notice repetition. A loop repeats within a few dozen
/// requests, also if an agent's key is shared by many workers; with 56 bytes each this is 14 KiB.
pub const RECENT_HASHES_MAX: usize = 256;

/// Hashes that share one set of `RECENT_HASHES_MAX`: few enough to compare all of them in some 10 ns, and
/// enough that a hash seen once in 100 requests is pushed out of its set less than once in 1,000 times.
pub const RECENT_WAYS: usize = 16;

/// Milliseconds that the clock may step back before what was counted by it is forgotten. Shorter steps
/// are waited out, so that a corrected clock opens no gap; a longer wait would hold an agent too long.
pub const CLOCK_BACK_MS_MAX: u64 = 60_000;

/// Accounts in memory above which the sessions used longest ago are let go of; the store still has them. At
/// a few hundred bytes each this is some 20 MiB.
pub const SESSIONS_IN_MEMORY_MAX: usize = 40_000;

/// Bytes of a body whose tokens are counted near the end of a budget; of a longer one the bytes count. 256
/// KiB take 7 to 10 ms, whatever the text, on a thread that carries no streams.
pub const COUNTED_BYTES_MAX: usize = 256 * 1024;

/// Bodies whose tokens are counted at the same time; the bytes of others count. An agent that keeps asking
/// with the last of its budget must not take the machine from the rest.
pub const COUNTS_AT_ONCE_MAX: usize = 2;

/// Bytes of text that one token stands for at the very most where it is worth counting: prose has 4 to 5,
/// code and JSON 3.
pub const BYTES_PER_TOKEN_MAX: u64 = 8;

/// Milliseconds that a request waits for its hold to be durable. A healthy disk takes some; one that takes
/// this long stands still.
pub const LEDGER_HOLD_MS_MAX: u64 = 5_000;

/// Most names of left-out fields that are listed for one request: enough for every field that any API
/// has, while the header that lists them stays below 4 KiB.
pub const DROPPED_FIELDS_MAX: usize = 48;

/// Characters of one such name that are shown. Clients may send keys of any length.
pub const DROPPED_FIELD_CHARS_MAX: usize = 64;

/// Calls of tools in one streamed answer that are told apart. Models make a handful, and no request may
/// offer more than 128 tools.
pub const STREAMED_CALLS_MAX: usize = 256;

/// Bytes of a streamed call's arguments that are kept while its name has not come. Providers send the
/// name first; this is room for one that does not.
pub const EARLY_ARGUMENTS_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a streamed thought that are kept for the entry which carries its signature, so that clients can
/// send both back. Longer thoughts have their signature alone, and are sent back by their plain text.
pub const SIGNED_THOUGHT_BYTES_MAX: usize = 32 * 1024;

/// Bytes of a streamed answer that wait for a tool call before them to end, where a provider mixes the
/// pieces of several and the client's dialect wants one after the other. The arguments of a call are a
/// few KiB, those that write whole files below 200 KiB.
pub const CALLS_HELD_BYTES_MAX: usize = 1024 * 1024;

/// Most items of one streamed answer that a reader tells apart: an answer has a handful, and each is looked
/// for whenever a piece of it comes.
pub const STREAM_ITEMS_MAX: usize = 1_024;

/// Bytes of a streamed answer that are kept because the dialect repeats the whole answer in its last events
/// (Responses). A million tokens are 4 MiB; an event of more than 8 MiB is read by nobody.
pub const ANSWER_KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The cap on the output of a translated request that names none, where the provider's dialect demands one
/// (Messages) and the model's own is larger or not known: what most models grant.
pub const TRANSLATED_OUTPUT_CAP: u64 = 32_000;

/// Milliseconds between two looks at whether another process has changed accounts or switches in the store.
/// Its own changes a process puts in force at once.
pub const FOLLOW_INTERVAL_MS: u64 = 1_000;

/// Milliseconds to ask a provider for its models, the connection included; below `ADMIN_WORK_MS_MAX`, so
/// that whoever asked is told how it went.
pub const SYNC_CALL_MS: u64 = 8_000;

/// Bytes of a provider's list of models: at 2 KiB for a model with all its prices, those of 2,000.
pub const SYNC_ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Accounts at providers that operators may keep. All are held in memory and looked through by name.
pub const PROFILES_MAX: usize = 1_000;

/// Models of one such account: the largest broker lists some 500.
pub const PROFILE_MODELS_MAX: usize = 2_000;

/// Models of all such accounts together; at some 300 bytes each this is 15 MiB.
pub const REGISTRY_MODELS_MAX: usize = 50_000;

/// Agents that may be switched to a model by hand. Beyond it clients could grow the store with names.
pub const SWITCHED_AGENTS_MAX: usize = 20_000;

/// Characters of a profile's name. It is part of model ids, logs and metrics.
pub const PROFILE_NAME_BYTES_MAX: usize = 64;

/// Bytes of the base URL of a profile: what browsers and servers take.
pub const PROFILE_URL_BYTES_MAX: usize = 2_048;

/// Bytes of a profile's credential. Keys have some 200; a signed token has room.
pub const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// Keys that may still open credentials beside the one that seals: each rotation needs one for a moment.
pub const KEYS_OLD_MAX: usize = 8;

/// Bytes of a file with a key in it. The key has 44 characters.
pub const KEY_FILE_BYTES_MAX: usize = 4 * 1024;

/// Bytes by which a credential may grow when it is sealed: version, nonce and tag need 29.
pub const SEAL_BYTES_MAX: usize = 64;

/// Marks of one model of a profile.
pub const MODEL_TAGS_MAX: usize = 32;

/// Characters of one such mark.
pub const MODEL_TAG_BYTES_MAX: usize = 64;

/// Milliseconds that a change of the registry waits for the ledger's writer, or for another process. Their
/// turns take milliseconds; it ends well before `ADMIN_WORK_MS_MAX`.
pub const REGISTRY_BUSY_MS_MAX: u64 = 3_000;

/// Requests that wait for the audit. At 300 bytes each this is 10 MiB, and seconds of the heaviest traffic.
pub const AUDIT_QUEUE_MAX: usize = 32 * 1024;

/// Rows that one transaction writes into the audit or forgets: a few milliseconds, in which the ledger's
/// writer waits.
pub const AUDIT_BATCH_MAX: usize = 500;

/// Milliseconds that the audit leaves the store alone after each transaction. Whoever waits for the lock asks
/// for it every 1 to 2 ms at first, so that one pause is enough to get it.
pub const AUDIT_PAUSE_MS: u64 = 5;

/// Transactions of one round, about each second, that forget old rows: 10,000 of them a second.
pub const AUDIT_FORGET_PIECES_MAX: usize = 20;

/// Rows of an audit that one call gives: at some 300 bytes each, an answer of 300 KiB.
pub const AUDIT_PAGE_MAX: usize = 1_000;

/// Hosts whose addresses are remembered. More than there can be providers and accounts at a time; names of
/// accounts that are gone are forgotten with all others when it is reached, and looked up again.
pub const DNS_HOSTS_MAX: usize = 4_096;

/// Bytes of one typed answer that `weir init` reads: the longest is a key, of a few hundred bytes.
pub const TYPED_BYTES_MAX: u64 = 4 * 1024;

/// Levels of nesting in which the texts of a request are told apart: a tool result in a message has six,
/// arguments of a call a few more. What lies deeper is read as one text.
pub const TEXT_NESTING_MAX: usize = 24;

/// Bytes of an inline tag, or of a run of variation selectors, that are looked at: what is meant to be read
/// by a model has to fit, and what is longer is read as it stands.
pub const GUARD_TAG_BYTES_MAX: usize = 4_096;

/// Characters on each side that decide whether a foreign letter stands in a Latin word. No word is longer.
pub const GUARD_WORD_CHARS_MAX: usize = 24;

/// Bytes that one character may be folded to. Few stand for more: phrases of Arabic, units and companies in
/// Japanese, which are read as a space. A text of nothing else would become eleven times as long.
pub const GUARD_FOLDED_BYTES_MAX: usize = 8;

/// Segments of one text that are decoded. An attack needs one, but may stand behind others; a text with more of
/// them than this is suspect for it.
pub const GUARD_DECODES_MAX: usize = 64;

/// How often a decoded text is decoded again.
pub const GUARD_DECODE_DEPTH_MAX: usize = 2;

/// Bytes of one decoded segment. More than any attack needs, and small beside a request. What is longer is read as
/// several, which share what lies at their ends.
pub const GUARD_DECODED_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a text that are read turned or reversed at a time, where a cue says so: a text as long as those that the
/// weights were learned from is read in one piece.
pub const GUARD_TURNED_BYTES_MAX: usize = 64 * 1024;

/// Work, in steps of about a nanosecond, that each byte of a text pays for: reading it once as it stands takes some
/// 6 of them in usual texts and up to 20 in hostile ones, and what is left is for reading what is hidden in it. A
/// usual text may be read turned and reversed as well. With it, no text of as many bytes costs much above four times
/// what a usual one does (`benches/guard_in.rs`).
pub const GUARD_WORK_PER_BYTE: u64 = 18;

/// Work that all texts of one request may take beyond what they pay for, in the same steps: short ones hold so few
/// bytes that a single segment in a code costs more than they pay. Texts of attacks took 5,000 at most.
pub const GUARD_WORK_SPARE: u64 = 32 * 1024;

/// Places in one text that a verdict names.
pub const GUARD_SPANS_MAX: usize = 16;

/// Digests of texts whose verdicts are kept: some 200 conversations of 100 turns each, at 48 bytes each 1 MiB.
pub const GUARD_KNOWN_MAX: usize = 20_000;

/// Texts of one request that are screened by themselves. Those of a longer request are screened together.
pub const GUARD_TEXTS_MAX: usize = 10_000;

/// Texts of one request that are screened by themselves however short they are.
pub const GUARD_TEXTS_MIN: usize = 1_000;

/// Bytes of a request for each further one of those: a message with the shortest text has more. To look at a text
/// takes a fifth of a microsecond beside its bytes, so that many of a letter each took ten times as much as one.
pub const GUARD_TEXT_BYTES_PAID: usize = 24;

/// Bytes of a file of weights: 256 KiB of weights and a head of a few KiB, with room for four times as many.
pub const GUARD_WEIGHTS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of the longest thing that the output filter finds (a private key; the largest RSA keys in use have
/// 12 KiB in PEM). No more text than this is held back in a stream, and none of it for longer.
pub const GUARD_FIND_BYTES_MAX: usize = 16 * 1024;

/// Bytes of text that the output filter looks at in one go, so that what it keeps stays small however large
/// an answer is.
pub const GUARD_BLOCK_BYTES: usize = 4 * 1024;

/// Sessions with a pin in memory, over all shards. At some 400 bytes each this is 40 MiB, reached only by
/// 100,000 sessions within the soft window.
pub const PINS_MAX: usize = 100_000;

/// Shards of the pins, each with a lock of its own: more than there are cores in most machines.
pub const PIN_SHARDS: usize = 64;

/// Models whose caches a session remembers beside the one it is pinned to. Caches of more are dead before
/// the session comes back to them.
pub const PIN_FORMER_MAX: usize = 3;

/// Turns of a session up to which it is counted how many sessions come so far.
pub const SESSION_TURNS_COUNTED: usize = 256;

/// Sessions counted before what was learnt of their lengths counts half.
pub const SESSIONS_LEARNT_MAX: u32 = 20_000;

/// Bytes of a first message that a session's id is made of, and of each text of a system prompt: what tells two
/// sessions apart stands at their beginning, and 16 KiB are hashed in 9 us.
pub const SESSION_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Texts of a system prompt, and of a first message, that a session's id is made of: clients send one to three.
pub const SESSION_TEXTS_MAX: usize = 8;

/// Pins that wait to be written to the store. At 10,000 requests per second these are 3 seconds.
pub const PIN_QUEUE_MAX: usize = 32 * 1024;

/// Pins that one transaction writes, reads or forgets: a few milliseconds, in which the ledger's writer waits.
pub const PIN_BATCH_MAX: usize = 500;

/// Models whose usual cache hits are remembered; more than strategies choose from.
pub const HIT_MODELS_MAX: usize = 1_024;

/// Nodes of a decision tree. One of depth 11 has as many; deeper ones learn their training data by heart.
pub const TREE_NODES_MAX: usize = 4_096;

/// Bytes at the beginning, and as many at the end, of what the user said last that a strategy reads: twice what
/// an embedding reads of each end, so that long and very long prompts still differ in shape.
pub const ROUTING_TEXT_HALF_BYTES: usize = 8 * 1024;

/// Bytes of each end of that text in which words are looked for: what is wanted stands at one of them, and what
/// stands between is mostly material.
pub const CUES_HALF_BYTES: usize = 2 * 1024;

/// Bytes of a request's texts whose words are counted, the newest first; the rest is reckoned from them. At a
/// few bytes in a nanosecond this takes a few microseconds, whatever the size of the prompt.
pub const WORDS_COUNTED_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the header that explains a choice of model.
pub const EXPLAIN_BYTES_MAX: usize = 1_024;

/// Bytes of one tool result that is shortened: 30 times what harnesses let through. Longer ones go out as they
/// are; reading one of this size takes some 20 ms.
pub const COMPRESSED_TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a request whose tool results are shortened on the thread that serves it: 1 ms of work. Larger ones
/// go to a thread that carries no streams.
pub const SHORTENED_INLINE_BYTES_MAX: usize = 128 * 1024;

/// Sample requests that `weir demo` sends by itself, one a second: ten minutes, in which somebody looks.
pub const DEMO_TRICKLE_REQUESTS: usize = 600;

/// Requests that statistics keep as rows, for the table of the last ones and for `range=N`: at some 600 bytes
/// each, 1 MiB at most with long names.
pub const STATS_ROWS_MAX: usize = 1_000;

/// Rows of recent requests in one answer, as the seed has it, and in one event of the stream.
pub const STATS_ROWS_SHOWN: usize = 50;

/// Minutes that statistics keep one by one, as the longest range of the API needs them: at some 3 KiB for a
/// busy one this is 4 MiB.
pub const STATS_MINUTES_MAX: u64 = 24 * 60;

/// Hours of which statistics keep the course of traffic and cost: 30 days, at 64 bytes each.
pub const STATS_HOURS_MAX: usize = 30 * 24;

/// Names that the sums of one minute tell apart for each kind of label; the rest is counted as `other`.
pub const STATS_LABELS_MAX: usize = 48;

/// Names of one kind that an answer shows; the rest of them is summed up as `other`.
pub const STATS_LABELS_SHOWN: usize = 24;

/// Bytes of a name that statistics keep. Names in use have some 40, clients may send any.
pub const STATS_NAME_BYTES_MAX: usize = 160;

/// Points of one curve of the statistics: about one for each eight pixels of a wide screen.
pub const STATS_POINTS_MAX: u64 = 120;

/// Streams of statistics open at the same time: pages in front of people. Each holds one of the control API's
/// connections and asks for the sums once a second.
pub const STATS_STREAMS_MAX: usize = 16;

/// Milliseconds between two events of such a stream.
pub const STATS_EVENT_MS: u64 = 1_000;

/// Events for which a stream may have nothing new before it says so; well before `ADMIN_SILENCE_MS_MAX`, which
/// would cut it off.
pub const STATS_QUIET_EVENTS_MAX: u32 = 5;

/// Tokens of each end of a text that its embedding is made of. Measured: more of them route no better.
pub const EMBEDDED_TOKENS_MAX: usize = 256;

/// Bytes of each end of a text that are read to find those tokens. English has some 1,100, source code 900; a
/// text of a megabyte costs what one of eight KiB does.
pub const EMBEDDED_BYTES_MAX: usize = 4 * 1024;

/// Models among which one request is routed by what was learnt: their qualities lie on the stack.
pub const ROUTED_MODELS_MAX: usize = 64;

/// Tasks that a learnt router tells apart. More are no better on any data measured, and each costs 170 products.
pub const LEARNED_TASKS_MAX: usize = 32;

/// Models in one training: 64 have been routed among at most, of several suites at a time.
pub const LEARNED_MODELS_MAX: usize = 256;

/// Numbers that describe a prompt: its vector of 128, its shape and its surroundings.
pub const LEARNED_INPUTS_MAX: usize = 256;

/// Rank of the correction to the table of qualities: all of it for suites of sixteen models, each costs 170 products.
pub const LEARNED_RANK_MAX: usize = 16;

/// Bytes of a learnt router's file: the goal is 5 MB.
pub const ROUTER_FILE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of the description in a learnt router's file.
pub const ROUTER_ABOUT_BYTES_MAX: usize = 256 * 1024;

/// Queries of one training: they, and their vectors, are in memory at once, at some 4 KiB each.
pub const LEARN_QUERIES_MAX: usize = 200_000;

/// Requests of a log that feedback is learnt from: at some 100 bytes each, 200 MB.
pub const LEARN_LOG_LINES_MAX: usize = 2_000_000;

/// Bytes of one file of training data or log, decompressed: both are read whole.
pub const LEARN_FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Tools of a request that are counted for a learnt router, which takes more for as many.
pub const LEARNED_TOOLS_COUNTED_MAX: u32 = 16;

/// Text fields of one answer that are searched at the same time: 128 choices with some calls of tools each. An
/// answer with more is none that could be looked at.
pub const GUARD_FIELDS_MAX: usize = 1_024;

/// Bytes of a request that is screened on the thread that carries it, which takes 2 ms at most; a larger one
/// is screened elsewhere, so that no stream stands still for it.
pub const SCREEN_INLINE_BYTES_MAX: usize = 256 * 1024;

/// Large requests that are screened at the same time; others wait. They take whole cores.
pub const SCREENS_AT_ONCE_MAX: usize = 2;

/// Milliseconds that a large request waits for its turn to be screened; then it is one that could not be looked
/// at. The largest harmless body takes a quarter of a second, so dozens of those stand in line before that.
pub const SCREEN_WAIT_MS: u64 = 10_000;

/// Strikes of one key that are remembered: more than any terms ask for.
pub const STRIKES_PER_KEY_MAX: usize = 1_000;

/// Strikes that are stored, of all keys together; the oldest go first. At some 100 bytes each this is 5 MiB.
pub const STRIKES_STORED_MAX: usize = 50_000;

/// Keys in quarantine. Where requests need no key, anybody can make names up; those whose time ends first are
/// forgotten first.
pub const QUARANTINED_MAX: usize = 20_000;

/// Rows of the guard's audit; the oldest go first. At some 150 bytes each this is 15 MiB.
pub const GUARD_AUDIT_MAX: usize = 100_000;

/// Rows that wait for the guard's audit. Written each second; more than this is a flood, and counted.
pub const GUARD_AUDIT_QUEUE_MAX: usize = 4_096;

/// Names that the guard counts by in one day: rules and detectors are some hundred.
pub const GUARD_COUNTED_MAX: usize = 1_024;

/// Days for which the guard's counts are kept.
pub const GUARD_DAYS_MAX: i64 = 400;

/// Keys whose strikes are remembered in memory while the store cannot be written.
pub const STRUCK_IN_MEMORY_MAX: usize = 1_000;

/// Bytes of an `/infer` request that are read before its sender is known: its key may stand in it.
pub const INFER_UNKEYED_BYTES_MAX: usize = 1024 * 1024;

/// Problems of an `/infer` request that are listed.
pub const INFER_PROBLEMS_MAX: usize = 16;

/// Parts of one message of `/infer`: text parts, of which clients send a handful.
pub const INFER_PARTS_MAX: usize = 1_000;

/// How often a text of `/infer` is looked at again after something was taken out. Honest text is settled after
/// one or two; each round costs as much as the first.
pub const GUARD_STRIPS_MAX: usize = 8;

/// Bytes on each side of a seam between two turns of one author that are judged joined: more than half a phrase has,
/// written in a code too, and few, since every seam costs that much more.
pub const GUARD_TURN_SEAM_BYTES_MAX: usize = 96;

/// Bytes on each side of a seam between two parts of a message that are judged joined: more than any phrase has,
/// and little beside parts that are long, which have been judged by themselves.
pub const GUARD_SEAM_BYTES_MAX: usize = 4 * 1024;

/// How often the percent signs of a path are read, to see whether it is another spelling of one of ours: servers
/// behind one another may each read them once.
pub const PATH_DECODES_MAX: usize = 3;

/// Fields and files of a multipart form that are looked at for the model's name: forms have a dozen.
pub const FORM_PARTS_MAX: usize = 256;

/// Bytes of the head of one field of a form: a name and a content type.
pub const FORM_HEAD_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a request that its translated answer repeats (Responses), all fields together. The instructions and
/// tools of coding agents are 50 KiB; a stream says all of it three times.
pub const ECHOED_BYTES_MAX: usize = 128 * 1024;

/// File descriptors that a connection takes: its own, and that of the attempt behind it.
pub const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// File descriptors that connections leave to the rest: runtimes, the store, logs, the admin port.
pub const DESCRIPTORS_KEPT: u64 = 128;

/// Milliseconds between two lines of the log that say that holds cannot be made durable: each refused request would
/// write one, on a disk that may be full already.
pub const HOLD_TROUBLE_TOLD_MS: u64 = 60_000;

/// Changed settings that a reload names: more are another file, and nobody reads them.
pub const CHANGES_TOLD_MAX: usize = 100;
