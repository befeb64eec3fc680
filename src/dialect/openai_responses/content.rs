//! The parts of a message, and of what a tool answered: text, refusals, pictures, documents.
//!
//! Whether a provider takes a kind of document is for the writer of its dialect to know; kinds of
//! pictures are the same everywhere and are checked here.

use crate::dialect::canonical::fields::{
    items, members, needed, needed_text, object, text, within, word,
};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::picture;
use crate::dialect::canonical::request::{Content, Media, Part, Place, Source};
use crate::dialect::canonical::text::Text;

/// Whose parts they are: not everybody may say everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Text, pictures, documents: the user, and tools.
    User,
    /// Text and refusals.
    Assistant,
    /// Text.
    System,
}

/// The members of a part that have a meaning.
#[derive(Default)]
struct Found<'a> {
    kind: Option<&'a [u8]>,
    text: Option<&'a [u8]>,
    refusal: Option<&'a [u8]>,
    image_url: Option<&'a [u8]>,
    detail: Option<&'a [u8]>,
    file_id: Option<&'a [u8]>,
    file_url: Option<&'a [u8]>,
    file_data: Option<&'a [u8]>,
    filename: Option<&'a [u8]>,
}

/// Reads the value `value` of `field`: a string or an array of parts, of the item of that number.
///
/// # Errors
/// Parts that are none, or that the speaker may not say.
pub fn read<'a>(
    value: &'a [u8],
    field: &str,
    speaker: Speaker,
    item: usize,
) -> Result<Vec<Part<'a>>, Refused> {
    if let Some(text) = Text::token(value) {
        let place = Place { item, part: None };
        return Ok(vec![Part { kind: Content::Text(text), cache: None, place }]);
    }
    if !value.starts_with(b"[") {
        return Err(Refused::new(field, "must be a string or an array of parts"));
    }
    let one = |(number, part)| {
        let kind = read_part(part, speaker).map_err(within(|| format!("{field}[{number}]")))?;
        Ok(Part { kind, cache: None, place: Place { item, part: Some(number) } })
    };
    items(value).enumerate().map(one).collect()
}

fn read_part(part: &[u8], speaker: Speaker) -> Result<Content<'_>, Refused> {
    let mut found = Found::default();
    for (key, value) in members(object(part, "")?) {
        let value = Some(value);
        match &*key {
            b"type" => found.kind = value,
            b"text" => found.text = value,
            b"refusal" => found.refusal = value,
            b"image_url" => found.image_url = value,
            b"detail" => found.detail = value,
            b"file_id" => found.file_id = value,
            b"file_url" => found.file_url = value,
            b"file_data" => found.file_data = value,
            b"filename" => found.filename = value,
            _ => {}
        }
    }
    let kind = needed(found.kind, "type")?;
    match (kind, speaker) {
        (b"\"input_text\"" | b"\"output_text\"", _) => {
            needed_text(found.text, "text").map(Content::Text)
        }
        (b"\"refusal\"", Speaker::Assistant) => {
            needed_text(found.refusal, "refusal").map(Content::Refusal)
        }
        (b"\"input_image\"", Speaker::User) => image(&found).map(Content::Image),
        (b"\"input_file\"", Speaker::User) => file(&found).map(Content::Document),
        (_, Speaker::User) => {
            Err(Refused::new("type", "must be input_text, input_image or input_file"))
        }
        (_, Speaker::Assistant) => {
            Err(Refused::new("type", "must be output_text or refusal in an assistant's message"))
        }
        (_, Speaker::System) => {
            Err(Refused::new("type", "must be input_text in a system or developer message"))
        }
    }
}

fn image<'a>(found: &Found<'a>) -> Result<Media<'a>, Refused> {
    let detail = found.detail.map(|detail| word(detail, "detail")).transpose()?;
    let source = match (found.image_url, found.file_id) {
        (Some(url), _) => located("image_url", url)?,
        (None, Some(id)) => Source::File(text(id, "file_id")?),
        (None, None) => return Err(Refused::new("image_url", "is missing")),
    };
    if let Source::Base64 { media_type, .. } = &source
        && !picture::is_known(media_type)
    {
        return Err(Refused::new("image_url", "must be a PNG, JPEG, GIF or WebP picture"));
    }
    Ok(Media { source, detail, name: None })
}

fn file<'a>(found: &Found<'a>) -> Result<Media<'a>, Refused> {
    let name = found.filename.map(|name| text(name, "filename")).transpose()?;
    let source = match (found.file_data, found.file_url, found.file_id) {
        (Some(data), _, _) => {
            let data = text(data, "file_data")
                .and_then(|_| located("file_data", data))
                .map(|source| (source, data))?;
            match data {
                // Bare base64, as the reference has it; its kind is in the name.
                (Source::Url(data), _) => {
                    Source::Base64 { media_type: named_type(name.as_ref())?, data }
                }
                (source, _) => source,
            }
        }
        (None, Some(url), _) => Source::Url(text(url, "file_url")?),
        (None, None, Some(id)) => Source::File(text(id, "file_id")?),
        (None, None, None) => {
            return Err(Refused::new("file_data", "is missing, and so are file_url and file_id"));
        }
    };
    Ok(Media { source, detail: None, name })
}

/// The kind of a document that only its name tells.
fn named_type(name: Option<&Text<'_>>) -> Result<Text<'static>, Refused> {
    let is_pdf = name.is_none_or(|name| {
        name.as_written().rsplit(|byte| *byte == b'.').next().is_some_and(|ending| {
            ending.eq_ignore_ascii_case(b"pdf") && ending.len() < name.as_written().len()
        })
    });
    if is_pdf {
        Ok(Text::written(b"application/pdf"))
    } else {
        Err(Refused::new("file_data", "must be a data URL that names its media type"))
    }
}

/// A data URL taken apart, or any other URL as it is.
fn located<'a>(field: &str, value: &'a [u8]) -> Result<Source<'a>, Refused> {
    let whole = text(value, field)?;
    let inside = value.get(1..value.len().saturating_sub(1)).unwrap_or_default();
    let Some(rest) = inside.strip_prefix(b"data:") else { return Ok(Source::Url(whole)) };
    let why = "must name its media type, and hold its data as base64";
    picture::in_data_url(rest).ok_or_else(|| Refused::new(field, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::text::Raw;

    fn one(part: &str, speaker: Speaker) -> Result<Content<'_>, Refused> {
        read_part(part.as_bytes(), speaker)
    }

    #[test]
    fn data_urls_are_taken_apart() {
        let part =
            r#"{"type":"input_image","image_url":"data:image\/png;base64,aGk=","detail":"low"}"#;
        let Ok(Content::Image(image)) = one(part, Speaker::User) else { panic!("an image") };
        let Source::Base64 { media_type, data } = image.source else { panic!("base64") };
        assert!(media_type.is("image/png") && data.is("aGk="));
        assert_eq!(image.detail, Some(Raw(b"\"low\"")));
        let part = r#"{"image_url":"data:image/jpg;base64,aGk=","type":"input_image"}"#;
        let Ok(Content::Image(image)) = one(part, Speaker::User) else { panic!("an image") };
        let expected = Source::Base64 {
            media_type: Text::written(b"image/jpeg"),
            data: Text::written(b"aGk="),
        };
        assert_eq!(image.source, expected);
    }

    #[test]
    fn documents_come_as_data_url_or_id() {
        let pdf = |data| Source::Base64 {
            media_type: Text::written(b"application/pdf"),
            data: Text::written(data),
        };
        for (part, source) in [
            (r#"{"type":"input_file","filename":"a.PDF","file_data":"aGk="}"#, pdf(b"aGk=")),
            (
                r#"{"type":"input_file","file_data":"data:application/pdf;base64,aGk="}"#,
                pdf(b"aGk="),
            ),
            (
                r#"{"type":"input_file","file_url":"https://a/b.pdf"}"#,
                Source::Url(Text::written(b"https://a/b.pdf")),
            ),
            (r#"{"type":"input_file","file_id":"file-1"}"#, Source::File(Text::written(b"file-1"))),
        ] {
            let Ok(Content::Document(found)) = one(part, Speaker::User) else { panic!("{part}") };
            assert_eq!(found.source, source);
        }
    }

    #[test]
    fn what_is_no_part_is_refused_by_its_field() {
        for (part, field) in [
            ("7", ""),
            ("{}", "type"),
            (r#"{"type":"input_text"}"#, "text"),
            (r#"{"type":"input_text","text":1}"#, "text"),
            (r#"{"type":"input_audio","input_audio":{}}"#, "type"),
            (r#"{"type":"refusal","refusal":"no"}"#, "type"),
            (r#"{"type":"input_image"}"#, "image_url"),
            (r#"{"type":"input_image","image_url":{"url":"x"}}"#, "image_url"),
            (r#"{"type":"input_image","image_url":"data:image/tiff;base64,aGk="}"#, "image_url"),
            (r#"{"type":"input_image","image_url":"data:image/png,aGk="}"#, "image_url"),
            (r#"{"type":"input_image","image_url":"data:;base64,aGk="}"#, "image_url"),
            (r#"{"type":"input_file"}"#, "file_data"),
            (r#"{"type":"input_file","filename":"a.txt","file_data":"aGk="}"#, "file_data"),
            (r#"{"type":"input_file","filename":"pdf","file_data":"aGk="}"#, "file_data"),
        ] {
            let refused = one(part, Speaker::User).expect_err(part);
            assert_eq!(refused.field, field, "{part}");
        }
        let image = r#"{"type":"input_image","image_url":"https://a/b"}"#;
        assert!(one(image, Speaker::Assistant).is_err() && one(image, Speaker::System).is_err());
    }
}
