//! What Logstash's codec rubydebug prints: Ruby's objects by the gem awesome_print, as `"name" => value`. Start at [`objects`].

use serde_json::{Map, Value};

/// How deep objects may be nested.
const DEEPEST: usize = 32;

/// Passes on the objects of a text; other lines between them are passed over.
pub(super) fn objects(text: &str, each: &mut dyn FnMut(Value) -> Result<(), String>) -> Result<(), String> {
    let mut rest = text;
    loop {
        // An object begins a line.
        let begins = if rest.starts_with('{') { Some(0) } else { rest.find("\n{").map(|at| at + 1) };
        let Some(object) = begins.and_then(|at| rest.get(at..)) else { return Ok(()) };
        let mut parser = Parser { rest: object };
        let Some(value) = parser.value(0) else {
            let line = text.get(..text.len() - parser.rest.len()).unwrap_or_default().lines().count();
            return Err(format!("line {line} is not as rubydebug writes it"));
        };
        each(value)?;
        rest = parser.rest;
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' => self.string().map(Value::String),
            _ => self.word(),
        }
    }

    /// `{ "name" => value, … }`
    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take("{")?;
        let mut members = Map::new();
        while !self.ends("}") {
            let name = self.string()?;
            self.take("=>")?;
            members.insert(name, self.value(depth + 1)?);
            let _optional = self.take(",");
        }
        Some(Value::Object(members))
    }

    /// `[ [0] value, … ]`
    fn array(&mut self, depth: usize) -> Option<Value> {
        self.take("[")?;
        let mut values = Vec::new();
        while !self.ends("]") {
            let index = self.rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            if let Some((number, rest)) = index
                && number.trim().parse::<usize>().is_ok()
            {
                self.rest = rest;
            }
            values.push(self.value(depth + 1)?);
            let _optional = self.take(",");
        }
        Some(Value::Array(values))
    }

    fn string(&mut self) -> Option<String> {
        self.skip_space();
        let inner = self.rest.strip_prefix('"')?;
        let mut text = String::new();
        let mut letters = inner.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = inner.get(at + 1..)?;
                    return Some(text);
                }
                '\\' => text.push(letters.next()?.1),
                letter => text.push(letter),
            }
        }
        None
    }

    /// A number, a time, `true`, `false` or `nil`: up to a comma or the end of the line.
    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find([',', '\n', '}', ']']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        let word = word.trim();
        if word.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(match word {
            "nil" => Value::Null,
            _ => serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned())),
        })
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, wanted: &str) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(wanted)?;
        self.skip_space();
        Some(())
    }

    fn ends(&mut self, end: &str) -> bool {
        self.take(end).is_some()
    }
}
