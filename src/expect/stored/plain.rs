//! JSON and CSV of anything else: `columns` of the rule has the names.

use super::{Form, Shape};

pub(super) const JSON: Form = Form { shape: Shape::Json, names: &[] };
pub(super) const CSV: Form = Form { shape: Shape::Csv { head: None }, names: &[] };
