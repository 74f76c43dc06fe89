//! What is read, what is refused and where, what hostile texts cost, and that PyYAML reads the same.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::*;

/// The value with its texts as they are, to compare it with what others read.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Empty => json!(""),
        Value::Text(text) => json!(text.text),
        Value::List(entries) => entries.iter().map(json).collect(),
        Value::Map(entries) => Json::Object(entries.iter().map(|(key, node)| (key.name.clone(), json(node))).collect()),
    }
}

#[track_caller]
fn gives(text: &str, expected: &Json) {
    match parse(text.as_bytes()) {
        Ok(node) => assert_eq!(&json(&node), expected, "{text}"),
        Err(e) => panic!("{text}\n{e}"),
    }
}

#[track_caller]
fn refuses(text: &str, words: &str) {
    match parse(text.as_bytes()) {
        Ok(node) => panic!("{text:?} should be refused, but gave {}", json(&node)),
        Err(e) => assert!(e.to_string().starts_with(words), "{text:?}: {e} should begin with {words}"),
    }
}

#[test]
fn blocks_and_brackets_are_read() {
    for text in ["", "\n", "# a comment", "---\n", "\u{feff}"] {
        gives(text, &json!(""));
    }
    gives("a: b\nc:\n  d: e\n", &json!({"a": "b", "c": {"d": "e"}}));
    gives("a:\r\n- b\r\n- c: d\r\n  e: f\r\ng: h", &json!({"a": ["b", {"c": "d", "e": "f"}], "g": "h"}));
    gives("--- # begins\n- - a\n  - b\n-\n  c: d\n-\n- e", &json!([["a", "b"], {"c": "d"}, "", "e"]));
    gives("a: # nothing\nb:\n\n  # here\n\n    c: d # e\n#f\ng : h#i", &json!({"a": "", "b": {"c": "d"}, "g": "h#i"}));
    gives("{a: b, 'c': [d, e: , ]}".replace("e: , ", "\"e\", ").as_str(), &json!({"a": "b", "c": ["d", "e"]}));
    gives(
        "a: [\n  b, # c\n  {d: e, f:},\n]\ng: {}\nh: []",
        &json!({"a": ["b", {"d": "e", "f": ""}], "g": {}, "h": []}),
    );
    gives("[u:deploy:rw, d:g:web:rx, u::7]", &json!(["u:deploy:rw", "d:g:web:rx", "u::7"]));
    gives(r#"{"a":"b","c":[1,2]}"#, &json!({"a": "b", "c": ["1", "2"]}));
    gives("a: b, [c] {d}: e".replace(": e", ":e").as_str(), &json!({"a": "b, [c] {d}:e"}));
    gives("-a: -b\n?c: :d\n~: null", &json!({"-a": "-b", "?c": ":d", "~": "null"}));
}

#[test]
fn scalars_keep_their_text() {
    let table = [
        ("0644", "0644"),
        ("0.0", "0.0"),
        ("yes", "yes"),
        ("1_000", "1_000"),
        ("'it''s'", "it's"),
        ("'a \\n # b: c'", "a \\n # b: c"),
        (r#""a\t\"\\\/\n\x41\u00e4\U0001F600""#, "a\t\"\\/\nAä😀"),
        ("\"tab\tin quotes\"", "tab\tin quotes"),
        ("''", ""),
        ("a  b   # c", "a  b"),
        ("größe", "größe"),
    ];
    for (written, text) in table {
        gives(&format!("k: {written}"), &json!({"k": text}));
        gives(&format!("[{written}\n]"), &json!([text]));
    }
    let Value::Map(entries) = parse(b"a: 0644\nb: '0644'").unwrap().value else { panic!() };
    let quoted: Vec<_> = entries.iter().map(|(_, n)| matches!(&n.value, Value::Text(text) if text.quoted)).collect();
    assert_eq!(quoted, [false, true]);
}

#[test]
fn values_and_keys_know_their_place() {
    let node = parse("# one\nfiles:\n  - source: /\n    grüße: [a, {b: c}]\n".as_bytes()).unwrap();
    let mut places = Vec::new();
    fn walk(node: &Node, places: &mut Vec<(String, u32, u32)>) {
        let mut note = |text: &str, at: Place| places.push((text.to_owned(), at.line, at.column));
        match &node.value {
            Value::Text(text) => note(&text.text, node.at),
            Value::Empty => note("", node.at),
            Value::List(entries) => entries.iter().for_each(|entry| walk(entry, places)),
            Value::Map(entries) => entries.iter().for_each(|(key, node)| {
                places.push((key.name.clone(), key.at.line, key.at.column));
                walk(node, places);
            }),
        }
    }
    walk(&node, &mut places);
    let expected =
        [("files", 2, 1), ("source", 3, 5), ("/", 3, 13), ("grüße", 4, 5), ("a", 4, 13), ("b", 4, 17), ("c", 4, 20)];
    assert_eq!(places, expected.map(|(text, line, column)| (text.to_owned(), line, column)));
}

#[test]
fn what_is_no_part_of_it_is_refused_with_what_to_write() {
    let table = [
        ("a: &x b", "1:4: error: anchors are not read"),
        ("a: b\nc: *x", "2:4: error: aliases are not read"),
        ("a: !!str b", "1:4: error: tags are not read"),
        ("a:\n  <<: b", "2:3: error: merge keys"),
        ("a: |\n  b", "1:4: error: texts over several lines"),
        ("a: >-\n  b", "1:4: error: texts over several lines"),
        ("a: b\n  c", "2:3: error: this stands too far right: begin it in column 1"),
        ("a: b\n  c: d", "2:3: error: this stands too far right"),
        ("a: 'b\n  c'", "1:4: error: the quote is not closed in its line"),
        ("a: \"b", "1:4: error: the quote is not closed"),
        ("? a\n: b", "1:1: error: a text cannot begin with this"),
        ("%YAML 1.2\n---\na: b", "1:1: error: directives"),
        ("a: b\n---\nc: d", "2:1: error: a second document"),
        ("a: b\n...\n", "2:1: error: a second document"),
        ("a: b\na: c", "2:1: error: the key a is here twice: line 1 has it"),
        ("{a: b, \"a\": c}", "1:8: error: the key a is here twice"),
        ("a:\n\tb: c", "2:1: error: this is a tab"),
        ("a:\n  - b\n \t- c", "3:2: error: this is a tab"),
        ("a:\tb", "1:3: error: this is a tab"),
        ("a: b\tc", "1:5: error: this is a tab"),
        ("a: b: c", "1:5: error: a second colon"),
        ("a: - b", "1:4: error: a list begins on the line below"),
        ("a: b\n- c", "2:1: error: a list cannot follow"),
        ("- a\nb: c", "2:1: error: this does not go on"),
        ("  a: b\nc: d", "2:1: error: this does not go on"),
        ("a:\n    b: c\n  d: e", "3:3: error: this stands too far right: begin it in column 1"),
        ("a", "1:2: ok"),
        ("a:b\nc: d", "2:1: error: a key and a colon are missing"),
        ("a: b\nc", "2:1: error: a colon and a blank are missing"),
        ("a: 'b' c", "1:8: error: nothing more can stand"),
        ("a: 'b'#c", "1:7: error: a comment needs a blank"),
        ("a: [b] c", "1:8: error: nothing more can stand"),
        ("a: [b, c", "1:4: error: the bracket is not closed"),
        ("a: [b\n---\n]", "1:4: error: the bracket is not closed"),
        ("a: [b c: d]", "1:8: error: a pair needs braces"),
        ("a: [b:]", "1:6: error: a pair needs braces"),
        ("a: {b}", "1:5: error: a colon and a blank are missing"),
        ("a: {b:c}", "1:5: error: a colon and a blank are missing"),
        ("a: {b: c d: e}", "1:11: error: a comma or } is missing"),
        ("a: [b\n c]", "2:2: error: a comma or ] is missing"),
        ("a: [b}", "1:6: error: a comma or ] is missing"),
        ("a: [,]", "1:5: error: a text cannot begin with this"),
        ("a: {[b]: c}", "1:5: error: a key must be a text"),
        ("a: @b", "1:4: error: a text cannot begin with this"),
        ("a: \"\\q\"", "1:6: error: this escape is unknown"),
        ("a: \"\\x4\"", "1:6: error: hexadecimal digits are missing"),
        ("a: \"\\ud800\"", "1:6: error: this escape is unknown"),
        ("a: b\u{7}", "1:5: error: a control character (\\u{7})"),
        ("a: b\rc: d", "1:5: error: a control character (\\r)"),
        ("a: b\u{2028}c", "1:5: error: a control character (\\u{2028})"),
    ];
    for (text, words) in table.into_iter().filter(|(_, words)| !words.ends_with("ok")) {
        refuses(text, words);
    }
    let error = parse(b"a: b\nc: \xff").unwrap_err().to_string();
    assert!(error.starts_with("2:4: error: this is not UTF-8"), "{error}");
}

#[test]
fn what_is_deep_or_large_is_refused_soon_and_without_a_deep_stack() {
    let keys: String = (0..200_000).map(|n| format!("k{n}:\n")).collect();
    let steps: String = (0..1_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let table = [
        ("[".repeat(1 << 20), "1:17: error: this is more than 16 levels deep"),
        ("{a: ".repeat(1 << 18), "1:65: error: this is more than 16 levels deep"),
        ("- ".repeat(1 << 19), "1:33: error: this is more than 16 levels deep"),
        (steps, "17:17: error: this is more than 16 levels deep"),
        (keys[..1 << 20].to_owned(), "101:1: error: a map has at most 100 keys"),
        ("x".repeat((1 << 20) + 1), "1:1: error: it has more than 1048576 bytes"),
        (format!("a: '{}", "x".repeat(1 << 19)), "1:4: error: the quote is not closed"),
        (format!("a{}b", " ".repeat(1 << 19)).replace('b', "\n- "), "2:1: error: a key and a colon are missing"),
        (format!("[{}", "a,".repeat(1 << 18)), "1:1: error: the bracket is not closed"),
        (format!("a: {}*", "#".repeat(1 << 19)).replace(": #", ": \"#"), "1:4: error: the quote"),
        ("\n".repeat(1 << 19) + "*", "524289:1: error: aliases"),
        (" #\n".repeat(1 << 18) + "*", "262145:1: error: aliases"),
    ];
    for (text, words) in table {
        let start = Instant::now();
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(words), "{error} should begin with {words}");
        assert!(start.elapsed() < Duration::from_secs(5), "{words} took {:?}", start.elapsed());
    }
    gives(&format!("{}a{}", "[".repeat(16), "]".repeat(16)), &(0..16).fold(json!("a"), |inner, _| json!([inner])));
    let long = "x".repeat(1 << 19);
    gives(&format!("a: {long}  # {long}").as_str()[..(1 << 20) - 8], &json!({"a": long}));
    gives(&format!("[{}]", "a,".repeat(1 << 18)), &json!(vec!["a"; 1 << 18]));
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const TEXTS: [&str; 16] =
    ["a", "0644", "b c", "/srv/app", "**", "it's", "u::rw", "a: b", "x #y", "x#y", "-", "- z", "", "größe", "[", "\\"];

fn written(text: &str, dice: &mut Dice) -> String {
    let is_plain =
        !text.is_empty() && !text.starts_with(['*', '[', '-']) && !text.contains(": ") && !text.contains(" #");
    match dice.roll(3) {
        0 if is_plain => text.to_owned(),
        1 => format!("'{}'", text.replace('\'', "''")),
        _ => format!("\"{}\"", text.replace('\\', "\\\\")),
    }
}

/// A value in brackets or a scalar, and what it means.
fn flow(dice: &mut Dice, depth: usize) -> (String, Json) {
    let blank = |dice: &mut Dice| dice.one(&["", " ", "\n      ", "  # c\n      "]).to_owned();
    match dice.roll(if depth > 2 { 1 } else { 3 }) {
        0 => {
            let text = dice.one(&TEXTS);
            (written(text, dice), json!(text))
        }
        1 => {
            let entries: Vec<_> = (0..dice.roll(4)).map(|_| flow(dice, depth + 1)).collect();
            let text: Vec<_> =
                entries.iter().map(|(text, _)| format!("{}{text}{}", blank(dice), blank(dice))).collect();
            (format!("[{}]", text.join(",")), entries.into_iter().map(|(_, value)| value).collect())
        }
        _ => {
            let mut map = serde_json::Map::new();
            let mut text = Vec::new();
            for key in &["a", "k 2", "key"][..dice.roll(4)] {
                let (value, meaning) = flow(dice, depth + 1);
                text.push(format!("{}{}: {value}{}", blank(dice), written(key, dice), blank(dice)));
                map.insert((*key).to_owned(), meaning);
            }
            (format!("{{{}}}", text.join(",")), Json::Object(map))
        }
    }
}

/// Lines that begin in column `indent`, and what they mean.
fn block(dice: &mut Dice, indent: usize, depth: usize) -> (String, Json) {
    let blank = " ".repeat(indent);
    let end = |dice: &mut Dice| dice.one(&["\n", "\n", " # c\n", "\n\n", "\n# c\n"]).to_owned();
    let mut text = String::new();
    if dice.roll(2) == 0 {
        let mut list = Vec::new();
        for _ in 0..=dice.roll(3) {
            let step = 1 + dice.roll(3);
            let (value, meaning) =
                if depth > 2 || dice.roll(2) == 0 { flow(dice, 1) } else { block(dice, indent + 1 + step, depth + 1) };
            // What is a block goes on in the line of the dash, but for its first indentation.
            let is_block = value.ends_with('\n');
            text += &format!(
                "{blank}-{}{}",
                " ".repeat(step),
                if is_block { value[indent + 1 + step..].to_owned() } else { value + &end(dice) }
            );
            list.push(meaning);
        }
        return (text, Json::Array(list));
    }
    let mut map = serde_json::Map::new();
    for key in &["files", "a", "hooks x", "0.0"][..=dice.roll(3)] {
        text += &format!("{blank}{}:", written(key, dice));
        let (value, meaning) = match dice.roll(4) {
            0 => (end(dice), json!("")),
            1 if depth < 3 => {
                let deeper = indent + 1 + dice.roll(3);
                let (value, meaning) = block(dice, deeper, depth + 1);
                (end(dice) + &value, meaning)
            }
            _ => {
                let (value, meaning) = flow(dice, 0);
                (format!(" {value}{}", end(dice)), meaning)
            }
        };
        text += &value;
        map.insert((*key).to_owned(), meaning);
    }
    (text, Json::Object(map))
}

/// What PyYAML reads from each; `None` where it complains, or nothing is installed.
fn pyyaml(texts: &[String]) -> Option<Vec<Option<Json>>> {
    const SCRIPT: &str = r"
import json, sys, yaml
for text in json.load(sys.stdin):
    try: print(json.dumps(['' if (read := yaml.load(text, Loader=yaml.BaseLoader)) is None else read]))
    except Exception: print('[]')
";
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.parts/venv/bin/python");
    let child = Command::new(python).args(["-I", "-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let is_required = std::env::var("CI").as_deref() == Ok("true");
    let mut child = match child {
        Ok(child) => child,
        Err(e) if is_required => panic!("missing: {python}: {e}"),
        Err(_) => return None,
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = serde_json::to_string(texts).unwrap();
    std::thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()).unwrap());
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    let lines = std::str::from_utf8(&out.stdout).unwrap().lines();
    let read: Vec<Option<Json>> = lines.map(|line| serde_json::from_str::<Vec<Json>>(line).unwrap().pop()).collect();
    assert_eq!(read.len(), texts.len());
    Some(read)
}

#[test]
fn what_is_read_means_the_same_to_pyyaml() {
    const COUNT: usize = 6_000;
    let mut dice = Dice(2028);
    let mut texts = Vec::new();
    for number in 0..COUNT {
        let (text, meaning) = block(&mut dice, 0, 0);
        if number % 3 == 0 {
            match parse(text.as_bytes()) {
                Ok(node) => assert_eq!(json(&node), meaning, "{text}"),
                Err(e) => panic!("{text}\n{e}"),
            }
            texts.push(text);
            continue;
        }
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..=dice.roll(2) {
            let at = dice.roll(characters.len());
            let to = at + dice.roll(2).min(characters.len() - at);
            let new = dice
                .one(&["", " ", "\n", ":", ": ", "-", "- ", "#", "'", "\"", ",", "]", "[", "{", "}", "?", "a", "\n  "]);
            characters.splice(at..to, new.chars());
        }
        texts.push(characters.into_iter().collect());
    }
    let Some(theirs) = pyyaml(&texts) else { return };
    let (mut both, mut neither) = (0, 0);
    for (text, theirs) in texts.iter().zip(theirs) {
        match (parse(text.as_bytes()), theirs) {
            (Ok(ours), Some(theirs)) => {
                assert_eq!(json(&ours), theirs, "{text}");
                both += 1;
            }
            (Ok(ours), None) => panic!("only we read {text:?}: {}", json(&ours)),
            (Err(_), _) => neither += 1,
        }
    }
    assert!(both > COUNT / 3 + 100 && neither > COUNT / 10, "{both} read, {neither} refused");
}
