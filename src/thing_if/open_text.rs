//! Enumerations of texts to which the service may add.

/// An enum of known wire texts and `Other`, so that reading never fails on a text that came later.
macro_rules! open_text {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $wire:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* #[doc = concat!("`", $wire, "`")] $variant,)*
            /// Any other text.
            Other(Box<str>),
        }

        impl $name {
            /// As on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $($name::$variant => $wire,)*
                    $name::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($wire => $name::$variant,)*
                    other => $name::Other(other.into()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer).map(|text| $name::from(text.as_str()))
            }
        }
    };
}

pub(super) use open_text;

#[cfg(test)]
mod tests {
    use crate::thing_if::{BucketEventType, CommandState};

    #[test]
    fn known_and_unknown_texts_survive_the_wire() {
        for wire in ["SENDING", "DELIVERED", "SEND_FAILED", "INCOMPLETE", "DONE", "SOMETHING_NEW"] {
            let state: CommandState = serde_json::from_value(wire.into()).expect("any text");
            assert_eq!(state.to_string(), wire);
            assert_eq!(matches!(state, CommandState::Other(_)), wire == "SOMETHING_NEW");
        }
        assert_eq!(BucketEventType::from("DATA_OBJECT_CREATED"), BucketEventType::ObjectCreated);
    }
}
