//! What a field of a line may hold.

use std::time::Duration;

/// A borrowed value; formatting happens only if the line is written.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Text(&'a str),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
    /// Printed as Go prints it: `1.5s`.
    Duration(Duration),
    /// An id: lower-case hex without padding.
    Id(Id),
    List(&'a [String]),
    /// What has a `Display`, errors above all.
    Shown(&'a dyn Shown),
}

/// The id of a member, cluster or lease.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub u64);

/// `Display` with `Debug`, so that a value can be shown in either.
pub trait Shown: std::fmt::Display + std::fmt::Debug {}
impl<T: std::fmt::Display + std::fmt::Debug> Shown for T {}

macro_rules! from {
    ($($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl<'a> From<$type> for Value<'a> {
            fn from($value: $type) -> Self {
                $made
            }
        })*
    };
}
from! {
    &'a str => |text| Value::Text(text);
    &'a String => |text| Value::Text(text);
    i64 => |number| Value::Signed(number);
    i32 => |number| Value::Signed(number.into());
    u64 => |number| Value::Unsigned(number);
    u32 => |number| Value::Unsigned(number.into());
    usize => |number| Value::Unsigned(number as u64);
    f64 => |number| Value::Float(number);
    bool => |truth| Value::Bool(truth);
    Duration => |duration| Value::Duration(duration);
    Id => |id| Value::Id(id);
    &'a [String] => |list| Value::List(list);
    &'a Vec<String> => |list| Value::List(list);
    &'a dyn Shown => |value| Value::Shown(value);
}
