//! A bincode decoder whose memory, time and stack are bounded by the length of its input.
//!
//! bincode believes a length that it reads: it allocates a string of that length before it looks at
//! the rest of the input, and decodes that many elements even if each takes no byte. It offers a
//! limit, but only as a constant. [`Bounded`] is therefore put between bincode and the decoded type,
//! at every level of the value:
//!
//! - An owned string is read as a borrowed one, whose length is compared with the input first, and
//!   is then copied.
//! - The elements of all sequences and maps together may not outnumber the bytes of the input by
//!   more than [`MAX_EMPTY_ELEMENTS`]. An element that takes a byte can be assigned the first one
//!   that it takes, and no other element is assigned the same. So only elements that take none,
//!   such as `()`, are limited.
//! - Memory is reserved in advance for at most as many elements as the input has bytes, again for
//!   all sequences together.
//! - Each nested value compares a stack address.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::sys::stack;

/// The most elements of sequences and maps that take no byte of the input.
pub(super) const MAX_EMPTY_ELEMENTS: usize = 1 << 20;

/// What is left to the decoder.
pub(super) struct Budget {
    /// The elements that sequences and maps may still have.
    elements: Cell<usize>,
    /// The lowest stack address that may be used.
    floor: usize,
    /// Set when an error was returned because of it. The type may replace or swallow that error.
    too_deep_seen: Cell<bool>,
    /// The number of elements that was refused.
    too_long: Cell<Option<usize>>,
}

/// The text of the error for a sequence that is longer than its input can be.
pub(super) fn too_long(elements: usize) -> String {
    format!("a sequence of {elements} elements is longer than its input")
}

impl Budget {
    /// For an input of `len` bytes, and `stack` bytes of stack.
    pub(super) fn new(len: usize, stack: usize) -> Self {
        Budget {
            elements: Cell::new(len.saturating_add(MAX_EMPTY_ELEMENTS)),
            floor: stack::address().saturating_sub(stack),
            too_deep_seen: Cell::new(false),
            too_long: Cell::new(None),
        }
    }

    pub(super) fn too_deep_seen(&self) -> bool {
        self.too_deep_seen.get()
    }

    pub(super) fn too_long(&self) -> Option<usize> {
        self.too_long.get()
    }

    /// Checks the stack before a nested value. Stacks grow downwards on all platforms with worker
    /// processes.
    #[inline(always)]
    fn enter<E: Error>(&self) -> Result<(), E> {
        if stack::address() >= self.floor { Ok(()) } else { Err(self.too_deep()) }
    }

    #[cold]
    fn too_deep<E: Error>(&self) -> E {
        self.too_deep_seen.set(true);
        E::custom("it is nested too deeply")
    }

    /// Takes the elements of a sequence out of the budget. Returns the number for which memory may
    /// be reserved in advance.
    #[inline]
    fn claim<E: Error>(&self, elements: usize) -> Result<usize, E> {
        let before = self.elements.get();
        let Some(rest) = before.checked_sub(elements) else {
            self.too_long.set(Some(elements));
            return Err(E::custom(too_long(elements)));
        };
        self.elements.set(rest);
        Ok(elements.min(before.saturating_sub(MAX_EMPTY_ELEMENTS)))
    }
}

/// Wraps a part of the decoder, or what is passed to it. See the module documentation.
pub(super) struct Bounded<'b, I> {
    inner: I,
    budget: &'b Budget,
}

impl<'b, I> Bounded<'b, I> {
    pub(super) fn new(inner: I, budget: &'b Budget) -> Self {
        Bounded { inner, budget }
    }
}

/// Visits a nested value.
struct Nested<'b, V> {
    visitor: V,
    budget: &'b Budget,
    /// The number of elements was read from the input, and is not given by the type.
    counted: bool,
}

impl<'b, V> Nested<'b, V> {
    fn new<E: Error>(visitor: V, budget: &'b Budget, counted: bool) -> Result<Self, E> {
        budget.enter()?;
        Ok(Nested { visitor, budget, counted })
    }

    /// The number of elements for which memory may be reserved in advance.
    fn claim<E: Error>(&self, elements: Option<usize>) -> Result<usize, E> {
        match elements {
            Some(elements) if self.counted => self.budget.claim(elements),
            // bincode always knows the number.
            Some(elements) => Ok(elements),
            None => Ok(0),
        }
    }
}

/// Accesses the elements of a sequence or a map.
struct Elements<'b, A> {
    access: A,
    budget: &'b Budget,
    reserve: usize,
}

/// Copies a borrowed string or byte string, for a type that asks for an owned one.
struct Copied<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Copied<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
    #[inline]
    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.0.visit_string(text.to_owned())
    }
    #[inline]
    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<V::Value, E> {
        self.0.visit_byte_buf(bytes.to_owned())
    }
}

macro_rules! forward {
    ($($method:ident)*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
                self.inner.$method(visitor)
            }
        )*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_bytes deserialize_unit deserialize_identifier
        deserialize_ignored_any
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_str(Copied(visitor))
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_bytes(Copied(visitor))
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Nested::new(visitor, self.budget, false)?)
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Nested::new(visitor, self.budget, false)?;
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_seq(Nested::new(visitor, self.budget, true)?)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, Nested::new(visitor, self.budget, false)?)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Nested::new(visitor, self.budget, false)?;
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(Nested::new(visitor, self.budget, true)?)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Nested::new(visitor, self.budget, false)?;
        self.inner.deserialize_struct(name, fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Nested::new(visitor, self.budget, false)?;
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Nested<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Bounded::new(inner, self.budget))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Bounded::new(inner, self.budget))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let reserve = self.claim(access.size_hint())?;
        self.visitor.visit_seq(Elements { access, budget: self.budget, reserve })
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let reserve = self.claim(access.size_hint())?;
        self.visitor.visit_map(Elements { access, budget: self.budget, reserve })
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Bounded::new(access, self.budget))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Bounded::new(inner, self.budget))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.access.next_element_seed(Bounded::new(seed, self.budget))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.access.size_hint().map(|left| left.min(self.reserve))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.access.next_key_seed(Bounded::new(seed, self.budget))
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.access.next_value_seed(Bounded::new(seed, self.budget))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.access.size_hint().map(|left| left.min(self.reserve))
    }
}

impl<'b, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), A::Error> {
        // The seed reads the number of the variant, which contains no other value.
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Bounded::new(variant, self.budget)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Bounded::new(seed, self.budget))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Nested::new(visitor, self.budget, false)?)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Nested::new(visitor, self.budget, false)?)
    }
}
