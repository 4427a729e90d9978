//! Templates: what the records of a set consist of, and which are known.

use std::collections::HashMap;

use super::element::{Element, Type};
use super::header::{Format, Session, Sessions};
use super::{Reason, ipfix, v9};

/// The length that says: each record has its own (RFC 7011 §7).
const VARIABLE: u16 = u16::MAX;
/// How many templates, how many fields of all of them, and how many sessions are kept. Exports are untrusted.
const MOST_TEMPLATES: usize = 65_536;
const MOST_FIELDS: usize = 1 << 20;
const MOST_SESSIONS: usize = 65_536;
/// How many fields without bytes a template may have: each is looked at in each record, however short that is.
const MOST_EMPTY_FIELDS: usize = 64;

/// One field of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldSpec {
    /// What it is.
    pub element: Element,
    /// What its bytes mean.
    pub kind: Type,
    /// Its bytes; `None` where each record says how many.
    pub length: Option<u16>,
    /// Whether it is the scope of an options record.
    pub scope: bool,
    /// Where it is in a record; `None` behind a field whose length each record says.
    pub offset: Option<usize>,
}

/// What the records of a set consist of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id, which is that of its sets; 0 for the records of NetFlow v1, v5 and v7.
    pub id: u16,
    /// Whether its records are options.
    pub is_options: bool,
    /// Its fields, in order.
    pub fields: Vec<FieldSpec>,
    /// A number that no other definition has: for who keeps something for each template. 0 for those of NetFlow v1, v5 and v7.
    pub serial: u64,
    /// Where it was defined first with these fields: `place` of [`super::walk`].
    pub place: u64,
    shortest: usize,
    has_fixed_length: bool,
    has_lists: bool,
}

/// A definition as it is in a datagram.
#[derive(Debug)]
pub(super) struct Definition {
    pub id: u16,
    pub options: bool,
    pub scopes: u16,
    pub count: usize,
    pub body: usize,
    pub end: usize,
}

/// A field of a definition, and where the next begins.
#[derive(Debug)]
pub(super) struct RawField {
    pub element: Element,
    pub length: u16,
    pub end: usize,
}

/// The templates that are known, of all sessions. Bounded: what comes when it is full is refused.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    sessions: Sessions,
    known: HashMap<(u32, u16), Template>,
    fields: usize,
    serial: u64,
}

impl Template {
    /// Without fields, for those of formats that define none.
    pub(super) const fn empty() -> Self {
        let fields = Vec::new();
        Self {
            id: 0,
            is_options: false,
            fields,
            serial: 0,
            place: 0,
            shortest: 0,
            has_fixed_length: true,
            has_lists: false,
        }
    }

    /// With one more field, of as many bytes as its specifier says.
    pub(super) fn with(self, element: Element, length: u16) -> Self {
        self.with_spec(element, length, false)
    }

    fn with_spec(mut self, element: Element, length: u16, scope: bool) -> Self {
        let offset = self.has_fixed_length.then_some(self.shortest);
        // A variable length has at least one byte, which says that it is 0.
        let (length, least) = if length == VARIABLE { (None, 1) } else { (Some(length), usize::from(length)) };
        let kind = element.kind();
        self.fields.push(FieldSpec { element, kind, length, scope, offset });
        self.has_lists |= kind.is_list();
        self.shortest += least;
        self.has_fixed_length &= length.is_some();
        self
    }

    /// The bytes of every record; `None` where they differ.
    pub fn fixed_length(&self) -> Option<usize> {
        self.has_fixed_length.then_some(self.shortest)
    }

    /// Whether a field is a list (RFC 6313).
    pub fn has_lists(&self) -> bool {
        self.has_lists
    }

    /// The fewest bytes that a record can have.
    pub fn shortest(&self) -> usize {
        self.shortest
    }
}

impl Definition {
    /// Its fields, with whether each is a scope.
    pub(super) fn fields<'a>(
        &self,
        bytes: &'a [u8],
        format: Format,
    ) -> impl Iterator<Item = (Element, u16, bool)> + Clone + use<'a> {
        let mut at = self.body;
        let scopes = usize::from(self.scopes);
        (0..self.count).map_while(move |index| {
            let scope = index < scopes;
            let field = match format {
                Format::NetflowV9 => v9::field(bytes, at, scope),
                _ => ipfix::field(bytes, at),
            }?;
            at = field.end;
            Some((field.element, field.length, scope))
        })
    }
}

impl Templates {
    /// The number of a session; the last one shares its number with all that come when there are too many.
    pub(super) fn session(&mut self, session: &Session) -> u32 {
        let number = self.sessions.number(session, MOST_SESSIONS);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX)
    }

    /// The template with this id in a session.
    pub(super) fn get(&self, session: u32, id: u16) -> Option<&Template> {
        self.known.get(&(session, id))
    }

    /// Keeps a definition. If it can't be kept, no template is known with that id.
    ///
    /// # Errors
    /// Why it is not kept.
    pub(super) fn learn(
        &mut self,
        session: u32,
        definition: &Definition,
        fields: impl Iterator<Item = (Element, u16, bool)> + Clone,
        place: u64,
    ) -> Result<(), Reason> {
        let key = (session, definition.id);
        let known = self.known.get(&key);
        if known.is_some_and(|template| {
            template.is_options == definition.options
                && template.fields.len() == definition.count
                && template.fields.iter().zip(fields.clone()).all(|(known, (element, length, scope))| {
                    (known.element, known.length.unwrap_or(VARIABLE), known.scope) == (element, length, scope)
                })
        }) {
            return Ok(());
        }
        let before = known.map_or(0, |template| template.fields.len());
        let is_full = known.is_none() && self.known.len() >= MOST_TEMPLATES;
        let refused = if fields.clone().filter(|(_, length, _)| *length == 0).count() > MOST_EMPTY_FIELDS {
            Some(Reason::BadTemplate)
        } else if is_full || session == u32::MAX || self.fields - before + definition.count > MOST_FIELDS {
            Some(Reason::TooManyTemplates)
        } else {
            None
        };
        if let Some(reason) = refused {
            // Records would be read wrongly with the one before.
            self.known.remove(&key);
            self.fields -= before;
            return Err(reason);
        }
        self.fields = self.fields - before + definition.count;
        self.serial += 1;
        let empty = Template {
            id: definition.id,
            is_options: definition.options,
            serial: self.serial,
            place,
            fields: Vec::with_capacity(definition.count),
            ..Template::empty()
        };
        let template =
            fields.fold(empty, |template, (element, length, scope)| template.with_spec(element, length, scope));
        self.known.insert(key, template);
        Ok(())
    }
}
