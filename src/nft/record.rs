//! Values that are tables of attributes.

/// Defines a value as the table of its attributes: those that must be there,
/// those that may, those that count as their default if absent, and those that
/// the kernel lists but does not take back.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident;
     need { $($(#[$need_doc:meta])* $need:ident: $need_type:ty = $need_attr:ident;)* }
     maybe { $($(#[$maybe_doc:meta])* $maybe:ident / $with_maybe:ident: $maybe_type:ty = $maybe_attr:ident;)* }
     zero { $($(#[$zero_doc:meta])* $zero:ident / $with_zero:ident: $zero_type:ty = $zero_attr:ident;)* }
     $(listed { $($listed_attr:ident;)* })?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name {
            $($need: $need_type,)*
            $($maybe: Option<$maybe_type>,)*
            $($zero: $zero_type,)*
            extra: $crate::nft::carried::Extra,
        }

        impl $name {
            /// With what it must have.
            #[expect(clippy::allow_attributes, reason = "depends on the table")]
            #[allow(clippy::new_without_default, reason = "one without attributes is still a choice")]
            pub fn new($($need: $need_type),*) -> Self {
                Self {
                    $($need,)*
                    $($maybe: None,)*
                    $($zero: Default::default(),)*
                    extra: Default::default(),
                }
            }

            $(
                $(#[$need_doc])*
                pub fn $need(&self) -> &$need_type {
                    &self.$need
                }
            )*
            $(
                $(#[$maybe_doc])*
                pub fn $maybe(&self) -> Option<&$maybe_type> {
                    self.$maybe.as_ref()
                }

                $(#[$maybe_doc])*
                #[must_use]
                pub fn $with_maybe(mut self, value: $maybe_type) -> Self {
                    self.$maybe = Some(value);
                    self
                }
            )*
            $(
                $(#[$zero_doc])*
                pub fn $zero(&self) -> &$zero_type {
                    &self.$zero
                }

                $(#[$zero_doc])*
                #[must_use]
                pub fn $with_zero(mut self, value: $zero_type) -> Self {
                    self.$zero = value;
                    self
                }
            )*

            pub(crate) fn encode(&self, out: &mut $crate::wire::Writer<'_>) {
                $($crate::nft::carried::Carried::put(&self.$need, $need_attr, out);)*
                $(
                    if let Some(value) = &self.$maybe {
                        $crate::nft::carried::Carried::put(value, $maybe_attr, out);
                    }
                )*
                $(
                    if self.$zero != <$zero_type>::default() {
                        $crate::nft::carried::Carried::put(&self.$zero, $zero_attr, out);
                    }
                )*
                self.extra.put(out);
            }

            pub(crate) fn decode(attrs: $crate::wire::Attrs<'_>) -> Result<Self, $crate::wire::DecodeError> {
                $(let mut $need = None;)*
                $(let mut $maybe = None;)*
                $(let mut $zero = None;)*
                let mut extra = $crate::nft::carried::Extra::default();
                for attribute in attrs {
                    let attribute = attribute?;
                    $(
                        if attribute.kind() == $need_attr {
                            $need = Some($crate::nft::carried::Carried::get($need_attr, &attribute)?);
                            continue;
                        }
                    )*
                    $(
                        if attribute.kind() == $maybe_attr {
                            $maybe = Some($crate::nft::carried::Carried::get($maybe_attr, &attribute)?);
                            continue;
                        }
                    )*
                    $(
                        if attribute.kind() == $zero_attr {
                            $zero = Some($crate::nft::carried::Carried::get($zero_attr, &attribute)?);
                            continue;
                        }
                    )*
                    $(
                        if [$($listed_attr.kind()),*].contains(&attribute.kind()) {
                            continue;
                        }
                    )?
                    extra.keep(&attribute);
                }
                Ok(Self {
                    $($need: $need.ok_or($crate::wire::DecodeError::Missing { kind: $need_attr.kind() })?,)*
                    $($maybe,)*
                    $($zero: $zero.unwrap_or_default(),)*
                    extra,
                })
            }
        }
    };
}

pub(crate) use record;
