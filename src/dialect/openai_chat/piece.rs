//! Reads the content of a message: text, pictures, files.
//!
//! Which kinds may stand in whose messages is this dialect's rule; whether another dialect can say
//! them is for its writer to find out.

use crate::dialect::canonical::fields::{array, find, items, members, object, text, within};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::picture;
use crate::dialect::canonical::request::{Content, Media, Part, Place, Source};
use crate::dialect::canonical::text::{Raw, Text};

/// Whose content it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

impl Speaker {
    /// The kinds of parts that may stand there.
    const fn kinds(self) -> &'static str {
        match self {
            Self::System => "`text`",
            Self::User | Self::Tool => "`text`, `image_url` or `file`",
            Self::Assistant => "`text` or `refusal`",
        }
    }
}

/// The parts of the content of message `item`.
pub(super) fn read(
    content: &[u8],
    speaker: Speaker,
    item: usize,
) -> Result<Vec<Part<'_>>, Refused> {
    if let Some(text) = Text::token(content) {
        let place = Place { item, part: None };
        return Ok(vec![Part { kind: Content::Text(text), cache: None, place }]);
    }
    if array(content, "").is_err() {
        return Err(Refused::new("content", "must be a string or an array of parts"));
    }
    let part = |(at, value)| {
        let place = Place { item, part: Some(at) };
        part(value, speaker, place).map_err(within(|| format!("content[{at}]")))
    };
    items(content).enumerate().map(part).collect()
}

fn part(value: &[u8], speaker: Speaker, place: Place) -> Result<Part<'_>, Refused> {
    object(value, "")?;
    let (mut kind, mut cache) = (None, None);
    let (mut said, mut refused, mut pictured, mut filed) = (None, None, None, None);
    for (key, value) in members(value) {
        match &*key {
            b"type" => kind = Some(text(value, "type")?),
            b"cache_control" => cache = Some(Raw(object(value, "cache_control")?)),
            b"text" => said = Some(value),
            b"refusal" => refused = Some(value),
            b"image_url" => pictured = Some(value),
            b"file" => filed = Some(value),
            _ => {}
        }
    }
    let word = kind.as_ref().and_then(Text::plain).unwrap_or_default();
    let missing = || Refused::new(&*word, "is missing");
    let content = match (&*word, speaker) {
        ("text", _) => Content::Text(text(said.ok_or_else(missing)?, "text")?),
        ("refusal", Speaker::Assistant) => {
            Content::Refusal(text(refused.ok_or_else(missing)?, "refusal")?)
        }
        ("image_url", Speaker::User | Speaker::Tool) => image(pictured.ok_or_else(missing)?)?,
        ("file", Speaker::User | Speaker::Tool) => file(filed.ok_or_else(missing)?)?,
        ("input_audio", _) => {
            return Err(Refused::new("type", "is audio, which cannot be carried to the provider"));
        }
        _ => return Err(Refused::new("type", format!("must be {} here", speaker.kinds()))),
    };
    Ok(Part { kind: content, cache, place })
}

/// A picture: an object with its `url`, or, as some clients have it, the URL alone.
fn image(value: &[u8]) -> Result<Content<'_>, Refused> {
    let (url, detail) = match value.first() {
        Some(b'"') => (Some(value), None),
        _ => (find(object(value, "image_url")?, "url"), find(value, "detail")),
    };
    let field = "image_url.url";
    let url = url.ok_or_else(|| Refused::new(field, "is missing"))?;
    let source = source(inside(url, field)?, field)?;
    if let Source::Base64 { media_type, .. } = &source
        && !picture::is_known(media_type)
    {
        return Err(Refused::new(
            field,
            format!("must be a picture of {}", picture::KINDS.join(", ")),
        ));
    }
    let detail = detail.map(|detail| text(detail, "image_url.detail").map(|_| Raw(detail)));
    Ok(Content::Image(Media { source, detail: detail.transpose()?, name: None }))
}

/// A file: its data, or the id by which the provider has it.
fn file(value: &[u8]) -> Result<Content<'_>, Refused> {
    let (mut source_of, mut name) = (None, None);
    for (key, value) in members(object(value, "file")?) {
        match &*key {
            b"file_data" => {
                source_of = Some(source(inside(value, "file.file_data")?, "file.file_data")?);
            }
            b"file_id" if source_of.is_none() => {
                source_of = Some(Source::File(text(value, "file.file_id")?));
            }
            b"filename" => name = Some(text(value, "file.filename")?),
            _ => {}
        }
    }
    let why = "must have `file_data` or `file_id`";
    let source = source_of.ok_or_else(|| Refused::new("file", why))?;
    Ok(Content::Document(Media { source, detail: None, name }))
}

/// What stands between the quotes of a string.
fn inside<'a>(value: &'a [u8], field: &str) -> Result<&'a [u8], Refused> {
    let inside = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inside.ok_or_else(|| Refused::new(field, "must be a string"))
}

/// What a URL means: data inside of it, or a place to get them.
fn source<'a>(url: &'a [u8], field: &str) -> Result<Source<'a>, Refused> {
    let is =
        |scheme: &[u8]| url.get(..scheme.len()).is_some_and(|url| url.eq_ignore_ascii_case(scheme));
    if is(b"http:") || is(b"https:") {
        return Ok(Source::Url(Text::written(url)));
    }
    let malformed = || {
        let why = "must be an `https:` URL, or `data:` with a media type and base64";
        Refused::new(field, why)
    };
    let rest = url.strip_prefix(b"data:").ok_or_else(malformed)?;
    let is_empty =
        |source: &Source<'_>| matches!(source, Source::Base64 { data, .. } if data.is_empty());
    picture::in_data_url(rest).filter(|source| !is_empty(source)).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(content: &str, speaker: Speaker) -> Result<Vec<Part<'_>>, Refused> {
        read(content.as_bytes(), speaker, 3)
    }

    fn refused(content: &str, speaker: Speaker) -> String {
        one(content, speaker).expect_err("refused").field
    }

    #[test]
    fn text_comes_as_a_string_or_in_parts() {
        let parts = one(r#""a\n""#, Speaker::User).expect("a string");
        assert_eq!(parts[0].kind, Content::Text(Text::written(br"a\n")));
        assert_eq!(parts[0].place, Place { item: 3, part: None });
        let text = r#"[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"text":"b","type":"text"}]"#;
        let parts = one(text, Speaker::System).expect("parts");
        assert_eq!(parts[0].cache, Some(Raw(br#"{"type":"ephemeral"}"#)));
        assert_eq!(parts[1].place, Place { item: 3, part: Some(1) });
    }

    #[test]
    fn pictures_and_files_have_their_sources() {
        let content = r#"[{"type":"image_url","image_url":{"url":"data:image\/png;base64,iV\/B","detail":"low"}},
            {"type":"image_url","image_url":"https://a/b.png"},
            {"type":"image_url","image_url":{"url":"data:image/jpg;charset=x;base64,aa"}},
            {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"}},
            {"type":"file","file":{"file_id":"file-1"}}]"#;
        let parts = one(content, Speaker::User).expect("parts");
        let Content::Image(image) = &parts[0].kind else { panic!("{parts:?}") };
        let Source::Base64 { media_type, data } = &image.source else { panic!("{image:?}") };
        assert!(media_type.is("image/png") && data.as_written() == br"iV\/B");
        assert_eq!(image.detail, Some(Raw(b"\"low\"")));
        let Content::Image(jpeg) = &parts[2].kind else { panic!("{parts:?}") };
        assert!(
            matches!(&jpeg.source, Source::Base64 { media_type, .. } if media_type.is("image/jpeg"))
        );
        let Content::Document(file) = &parts[3].kind else { panic!("{parts:?}") };
        assert_eq!(file.name, Some(Text::written(b"a.pdf")));
        let Content::Document(file) = &parts[4].kind else { panic!("{parts:?}") };
        assert_eq!(file.source, Source::File(Text::written(b"file-1")));
    }

    #[test]
    fn what_cannot_stand_there_is_refused_with_its_place() {
        for (content, speaker, field) in [
            ("7", Speaker::User, "content"),
            ("[7]", Speaker::User, "content[0]"),
            (r#"[{"type":"text"}]"#, Speaker::User, "content[0].text"),
            (r#"[{"type":"text","text":7}]"#, Speaker::User, "content[0].text"),
            (r#"[{"text":"a"}]"#, Speaker::User, "content[0].type"),
            (r#"[{"type":"refusal","refusal":"a"}]"#, Speaker::User, "content[0].type"),
            (
                r#"[{"type":"image_url","image_url":{"url":"https://a"}}]"#,
                Speaker::System,
                "content[0].type",
            ),
            (r#"[{"type":"input_audio","input_audio":{}}]"#, Speaker::User, "content[0].type"),
            (r#"[{"type":"image_url","image_url":{}}]"#, Speaker::User, "content[0].image_url.url"),
            (
                r#"[{"type":"image_url","image_url":{"url":"ftp://a"}}]"#,
                Speaker::User,
                "content[0].image_url.url",
            ),
            (
                r#"[{"type":"image_url","image_url":{"url":"data:image/tiff;base64,aa"}}]"#,
                Speaker::User,
                "content[0].image_url.url",
            ),
            (
                r#"[{"type":"image_url","image_url":{"url":"data:image/png,aa"}}]"#,
                Speaker::User,
                "content[0].image_url.url",
            ),
            (r#"[{"type":"file","file":{}}]"#, Speaker::User, "content[0].file"),
        ] {
            assert_eq!(refused(content, speaker), field, "{content}");
        }
    }
}
