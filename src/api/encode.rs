//! Answers as JSON, written straight into bytes, as etcd's gateway writes them: the names of the
//! protocol, 64-bit integers as strings, bytes as base64, and nothing for a zero.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kv::types::{
    DeleteRangeResponse, Event, EventKind, KeyValue, PutResponse, RangeResponse, ResponseOp,
    TxnResponse,
};

/// One JSON object under construction. Dropping it does not close it: [`end`](Self::end) does.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Goes on with an object whose first fields have been written by other means.
    pub(crate) fn resume(out: &'a mut Vec<u8>, empty: bool) -> Self {
        Self { out, empty }
    }

    /// Closes it.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    /// Writes a field's name and returns where its value goes. `name` needs no escapes.
    pub(crate) fn field(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A field that is an object.
    pub(crate) fn object(&mut self, name: &'static str) -> Object<'_> {
        Object::new(self.field(name))
    }

    /// A 64-bit integer, as a string; nothing for zero.
    pub(crate) fn int(&mut self, name: &'static str, value: i64) {
        if value != 0 {
            let out = self.field(name);
            out.push(b'"');
            push_decimal(out, value < 0, value.unsigned_abs());
            out.push(b'"');
        }
    }

    /// An unsigned 64-bit integer, as a string; nothing for zero.
    pub(crate) fn uint(&mut self, name: &'static str, value: u64) {
        if value != 0 {
            let out = self.field(name);
            out.push(b'"');
            push_decimal(out, false, value);
            out.push(b'"');
        }
    }

    /// A small number, as a number, zero included.
    pub(crate) fn number(&mut self, name: &'static str, value: u64) {
        push_decimal(self.field(name), false, value);
    }

    /// A flag; nothing for false.
    pub(crate) fn flag(&mut self, name: &'static str, value: bool) {
        if value {
            self.field(name).extend_from_slice(b"true");
        }
    }

    /// Bytes, as base64; nothing for none.
    pub(crate) fn bytes(&mut self, name: &'static str, value: &[u8]) {
        if !value.is_empty() {
            push_base64(self.field(name), value);
        }
    }

    /// Text; nothing for none.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            push_text(self.field(name), value);
        }
    }

    /// A list; nothing for none.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        items: &[T],
        mut push: impl FnMut(&mut Vec<u8>, &T),
    ) {
        if items.is_empty() {
            return;
        }
        let out = self.field(name);
        for (at, item) in items.iter().enumerate() {
            out.push(if at == 0 { b'[' } else { b',' });
            push(out, item);
        }
        out.push(b']');
    }

    /// The header that an operation within a transaction has: nothing but the revision.
    fn inner_header(&mut self, revision: i64) {
        let mut header = self.object("header");
        header.int("revision", revision);
        header.end();
    }
}

/// Writes an integer in decimal.
fn push_decimal(out: &mut Vec<u8>, negative: bool, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes bytes as a base64 string.
pub(crate) fn push_base64(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + value.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(value, &mut out[start..]).expect("the room was made above");
    debug_assert_eq!(start + written, out.len());
    out.push(b'"');
}

/// Writes text as a JSON string.
pub(crate) fn push_text(out: &mut Vec<u8>, value: &str) {
    serde_json::to_writer(out, value).expect("a Vec takes any text");
}

/// Writes one key with what it holds.
pub(crate) fn push_kv(out: &mut Vec<u8>, kv: &KeyValue) {
    let mut object = Object::new(out);
    object.bytes("key", &kv.key);
    object.int("create_revision", kv.create_revision);
    object.int("mod_revision", kv.mod_revision);
    object.int("version", kv.version);
    object.bytes("value", &kv.value);
    object.int("lease", kv.lease);
    object.end();
}

/// Writes one event of a watch.
pub(crate) fn push_event(out: &mut Vec<u8>, event: &Event) {
    let mut object = Object::new(out);
    if event.kind == EventKind::Delete {
        object.text("type", "DELETE");
    }
    push_kv(object.field("kv"), &event.kv);
    if let Some(before) = &event.prev_kv {
        push_kv(object.field("prev_kv"), before);
    }
    object.end();
}

/// The fields of a range's answer, after the header.
pub(crate) fn range(object: &mut Object<'_>, answer: &RangeResponse) {
    object.list("kvs", &answer.kvs, push_kv);
    object.flag("more", answer.more);
    object.int("count", answer.count);
}

/// The fields of a put's answer, after the header.
pub(crate) fn put(object: &mut Object<'_>, answer: &PutResponse) {
    if let Some(before) = &answer.prev_kv {
        push_kv(object.field("prev_kv"), before);
    }
}

/// The fields of a deletion's answer, after the header.
pub(crate) fn delete_range(object: &mut Object<'_>, answer: &DeleteRangeResponse) {
    object.int("deleted", answer.deleted);
    object.list("prev_kvs", &answer.prev_kvs, push_kv);
}

/// The fields of a transaction's answer, after the header.
pub(crate) fn txn(object: &mut Object<'_>, answer: &TxnResponse) {
    object.flag("succeeded", answer.succeeded);
    object.list("responses", &answer.responses, push_op);
}

fn push_op(out: &mut Vec<u8>, op: &ResponseOp) {
    let mut object = Object::new(out);
    match op {
        ResponseOp::Range(answer) => {
            let mut inner = object.object("response_range");
            inner.inner_header(answer.revision);
            range(&mut inner, answer);
            inner.end();
        }
        ResponseOp::Put(answer) => {
            let mut inner = object.object("response_put");
            inner.inner_header(answer.revision);
            put(&mut inner, answer);
            inner.end();
        }
        ResponseOp::DeleteRange(answer) => {
            let mut inner = object.object("response_delete_range");
            inner.inner_header(answer.revision);
            delete_range(&mut inner, answer);
            inner.end();
        }
        ResponseOp::Txn(answer) => {
            let mut inner = object.object("response_txn");
            inner.inner_header(0);
            txn(&mut inner, answer);
            inner.end();
        }
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::Object;

    #[test]
    fn zeros_are_left_out_and_integers_are_strings() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.int("a", 0);
        object.int("b", i64::MIN);
        object.uint("c", u64::MAX);
        object.flag("d", false);
        object.bytes("e", b"\xff\x00");
        object.text("f", "say \"hi\"");
        object.number("g", 0);
        object.list("h", &[1, 2], |out, n| out.push(b'0' + n));
        object.end();
        let text = String::from_utf8(out).expect("JSON is text");
        assert_eq!(
            text,
            concat!(
                r#"{"b":"-9223372036854775808","c":"18446744073709551615","e":"/wA=","#,
                r#""f":"say \"hi\"","g":0,"h":[1,2]}"#
            )
        );
    }
}
