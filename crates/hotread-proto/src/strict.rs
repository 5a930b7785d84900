//! Reading JSON by the rules of `docs/wire.md` where serde is more lenient: `null` is not "left out",
//! and an array is not an object.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// Reads a member that may be left out, and is not `null` when it is there: to be used as
/// `#[serde(default, deserialize_with = "given")]` for an `Option`.
///
/// # Errors
/// If the member does not have its type, of which `null` is not one.
pub fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A `T` that is read from an object only. Derived code also takes an array, as the members in their
/// order.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Reads a member that is an object: [`Object`] as `#[serde(deserialize_with = "object")]`.
pub(crate) fn object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Object::deserialize(deserializer).map(|Object(read)| read)
}

/// Reads an array of objects.
pub(crate) fn objects<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    // In place: the allocation of one is that of the other.
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(read)| read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Asked {
        #[serde(default, deserialize_with = "given")]
        number: Option<u64>,
        #[serde(default, deserialize_with = "objects")]
        others: Vec<Asked>,
    }

    #[test]
    fn null_is_not_left_out_and_an_array_is_no_object() {
        let read = |json| serde_json::from_str::<Object<Asked>>(json);
        let Object(asked) = read(r#"{"number":7,"others":[{}]}"#).unwrap();
        assert_eq!((asked.number, asked.others.len()), (Some(7), 1));
        assert_eq!(asked.others[0].number, None);
        for json in [
            r#"{"number":null}"#,
            r#"[7]"#,
            r#"{"others":[[7]]}"#,
            r#"{"others":[null]}"#,
            "null",
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
