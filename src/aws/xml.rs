//! Reads the flat XML of S3 and STS: only the text of the first element with a name. It has no attributes or comments,
//! so no parser is needed.

/// The text of the first element `name`, decoded and trimmed; `None` if it is empty or has child elements.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let text = raw_element(xml, name)?.trim();
    if text.is_empty() || text.contains('<') {
        return None;
    }
    let mut decoded = String::new();
    let mut pieces = text.split('&');
    decoded.push_str(pieces.next()?);
    for piece in pieces {
        let (entity, rest) = piece.split_once(';')?;
        decoded.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => char::from_u32(match other.strip_prefix("#x") {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => other.strip_prefix('#')?.parse().ok()?,
            })?,
        });
        decoded.push_str(rest);
    }
    Some(decoded)
}

/// The text of the first element `name`, including child elements.
pub(super) fn raw_element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use crate::aws::xml::element;

    #[test]
    fn element_table() {
        for (xml, expected) in [
            ("<Error><Code>A</Code><Message>m</Message></Error>", Some("A")),
            ("<Code> a &lt;b&gt; &amp;lt; &#39;&#x22;&apos;&quot; </Code>", Some("a <b> &lt; '\"'\"")),
            ("<Code>A</Code><Code>B</Code>", Some("A")),
            ("<Code><b>x</b></Code>", None),
            ("<Code>&bad;</Code>", None),
            ("<Code>&#xffffffff;</Code>", None),
            ("<Code>a & b</Code>", None),
            ("<Code> </Code>", None),
            ("<Code>A", None),
            ("<Kode>A</Kode>", None),
            ("", None),
        ] {
            assert_eq!(element(xml, "Code").as_deref(), expected, "{xml}");
        }
    }
}
