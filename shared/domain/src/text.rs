//! One spelling for each value that has one: as text, in JSON, and in JSON Schema.
//!
//! Two macros keep these together, so that they cannot disagree.
//! Only spelling belongs here; what a value means is said where its type is.

/// Serde and JSON Schema for a type that `Display` writes and `FromStr` reads.
///
/// `Debug` shows the text, too: it is what one searches for.
/// After the type come the schema's keywords besides `"type": "string"`.
macro_rules! serde_as_text {
    ($name:ident, { $($keywords:tt)* }) => {
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = ::std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string", $($keywords)* })
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }
    };
}

/// An enum whose values are words: each word is written once, and `Display`, `FromStr`, serde,
/// JSON Schema, `as_str` and `ALL` are derived from it.
macro_rules! text_enum {
    ($(#[$of_enum:meta])* pub enum $name:ident {
        $($(#[$of_value:meta])* $value:ident = $word:literal,)+
    }) => {
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
            ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema,
            ::strum::Display, ::strum::EnumString, ::strum::IntoStaticStr, ::strum::VariantArray,
        )]
        $(#[$of_enum])*
        pub enum $name {
            $($(#[$of_value])* #[serde(rename = $word)] #[strum(serialize = $word)] $value,)+
        }

        impl $name {
            /// All values, in the order in which they are declared.
            pub const ALL: &'static [Self] = <Self as ::strum::VariantArray>::VARIANTS;

            /// The word, as the API and the store have it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                self.into()
            }
        }
    };
}

pub(crate) use {serde_as_text, text_enum};

#[cfg(test)]
mod tests;
