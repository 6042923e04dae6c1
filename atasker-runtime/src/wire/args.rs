//! Encoding and decoding of the arguments and the result of a call.
//!
//! In the worker process every argument is read into a *holder*, which lends it to the function: an
//! owned value, a `&T` or `&[T]` of a decoded value, or a `&str` or `&[u8]` that points into the
//! received bytes. The holder depends on the type of the parameter alone, so generated code need
//! not understand types (an alias, a function of another crate). Generated code calls
//! `.__atasker_read(..)` on a reference to [`Arg<P>`], and method lookup selects the first of these
//! traits that applies, because each is implemented for one reference less than the one before:
//!
//! | trait | `P` |
//! |---|---|
//! | [`ReadBlock`], [`WriteBlock`] | `Vec<u8>`, `&Vec<u8>`, `&[u8]`, `&str`, `&Path`: one block of bytes |
//! | [`ReadSlice`] | `&[T]` |
//! | [`ReadRef`], [`WriteRef`] | `&T` |
//! | [`ReadOwned`], [`WriteOwned`] | anything else that serde can decode or encode |
//! | [`NoRead`], [`NoWrite`] | anything else |
//!
//! The methods have unusual names, because a trait of the user that is implemented for all types
//! would make a common name ambiguous.
//!
//! The last traits exist so that a type without serde's traits is not reported here, once for each
//! use of its encoding. Generated code checks all types of a function elsewhere, with an error in
//! plain words: see `macro_support::portable`. The methods of the last traits do not compile if they
//! are used, so no type can bypass that check.

use std::any::type_name;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{CodecStage, TaskError};
use crate::params::{Arg, never_compiles};
use crate::unwind;
use crate::wire::codec::{Format, read_block, write_block};
use crate::wire::nesting;
use crate::wire::payload::{Payload, finish, take_buffer};
use crate::wire::reply::Reply;

pub(super) fn failed<P: ?Sized>(stage: CodecStage, detail: String) -> TaskError {
    TaskError::Codec { stage, type_name: type_name::<P>().to_owned(), detail }
}

/// Encodes values one after the other.
#[derive(Debug)]
pub struct Output<F> {
    bytes: Vec<u8>,
    stage: CodecStage,
    _format: PhantomData<F>,
}

impl<F: Format> Output<F> {
    /// Creates an output for the arguments of a call.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Output { bytes: take_buffer(), stage: CodecStage::EncodeArguments, _format: PhantomData }
    }

    fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TaskError> {
        // A launch must not panic, even if a user's `Serialize` implementation does.
        unwind::catch(|| F::write(value, &mut self.bytes))?
            .map_err(|detail| failed::<T>(self.stage, detail))
    }

    /// Returns the encoded bytes.
    pub fn into_payload(self) -> Payload {
        finish(self.bytes)
    }
}

/// Decodes values one after the other.
#[derive(Debug)]
pub struct Input<'b, F> {
    bytes: &'b [u8],
    stage: CodecStage,
    _format: PhantomData<F>,
}

impl<'b, F: Format> Input<'b, F> {
    /// Creates an input over the encoded arguments of a call.
    pub fn arguments(bytes: &'b [u8]) -> Self {
        Input { bytes, stage: CodecStage::DecodeArguments, _format: PhantomData }
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T, TaskError> {
        nesting::read_on_this_thread::<F, T>(&mut self.bytes)
            .map_err(|detail| failed::<T>(self.stage, detail))
    }

    /// Like `read`, for a value that may be decoded on another thread if this one has too little
    /// stack.
    fn read_anywhere<T: DeserializeOwned + Send>(&mut self) -> Result<T, TaskError> {
        nesting::read::<F, T>(&mut self.bytes)?.map_err(|detail| failed::<T>(self.stage, detail))
    }

    fn block<T: ?Sized>(&mut self) -> Result<&'b [u8], TaskError> {
        read_block(&mut self.bytes).map_err(|detail| failed::<T>(self.stage, detail))
    }

    fn text<T: ?Sized>(&mut self) -> Result<&'b str, TaskError> {
        let block = self.block::<T>()?;
        std::str::from_utf8(block).map_err(|error| failed::<T>(self.stage, error.to_string()))
    }

    /// Checks that all bytes of `whole` were read.
    ///
    /// # Errors
    /// Returns an error if bytes are left over, which means that the two sides disagree about the
    /// type.
    pub fn end(self, whole: &str) -> Result<(), TaskError> {
        match self.bytes.len() {
            0 => Ok(()),
            n => Err(TaskError::Codec {
                stage: self.stage,
                type_name: whole.to_owned(),
                detail: format!("{n} byte(s) are left over"),
            }),
        }
    }
}

/// Holds an owned value.
#[derive(Debug)]
pub struct Owned<T>(T);
/// Holds a decoded value and lends a reference to it.
#[derive(Debug)]
pub struct Lent<T>(T);
/// Holds decoded values and lends a slice of them.
#[derive(Debug)]
pub struct LentSlice<T>(Vec<T>);
/// Holds a reference into the received bytes.
#[derive(Debug)]
pub struct InPlace<'b, T: ?Sized>(&'b T);

/// Holds nothing, because the argument can't be read.
#[derive(Debug)]
pub struct Missing(());

impl Missing {
    /// Returns the argument.
    pub fn __atasker_lend<T>(self) -> T {
        never_compiles!(T, "a type of this program can't be sent to a worker process")
    }
}
impl<T> Owned<T> {
    /// Returns the argument.
    pub fn __atasker_lend(self) -> T {
        self.0
    }
}
impl<T> Lent<T> {
    /// Returns the argument.
    pub fn __atasker_lend(&self) -> &T {
        &self.0
    }
}
impl<T> LentSlice<T> {
    /// Returns the argument.
    pub fn __atasker_lend(&self) -> &[T] {
        &self.0
    }
}
impl<'b, T: ?Sized> InPlace<'b, T> {
    /// Returns the argument.
    pub fn __atasker_lend(&self) -> &'b T {
        self.0
    }
}

// Reading.

/// Reads one block of bytes. See the module documentation.
pub trait ReadBlock {
    /// The holder of the argument.
    type Holder<'b>;
    /// Reads an argument.
    fn __atasker_read<'b, F: Format>(
        &self,
        input: &mut Input<'b, F>,
    ) -> Result<Self::Holder<'b>, TaskError>;
}

impl ReadBlock for &&&&Arg<Vec<u8>> {
    type Holder<'b> = Owned<Vec<u8>>;
    fn __atasker_read<'b, F: Format>(
        &self,
        input: &mut Input<'b, F>,
    ) -> Result<Self::Holder<'b>, TaskError> {
        Ok(Owned(input.block::<Vec<u8>>()?.to_vec()))
    }
}

impl ReadBlock for &&&&Arg<&Vec<u8>> {
    type Holder<'b> = Lent<Vec<u8>>;
    fn __atasker_read<'b, F: Format>(
        &self,
        input: &mut Input<'b, F>,
    ) -> Result<Self::Holder<'b>, TaskError> {
        Ok(Lent(input.block::<Vec<u8>>()?.to_vec()))
    }
}

impl ReadBlock for &&&&Arg<&[u8]> {
    type Holder<'b> = InPlace<'b, [u8]>;
    fn __atasker_read<'b, F: Format>(
        &self,
        input: &mut Input<'b, F>,
    ) -> Result<Self::Holder<'b>, TaskError> {
        Ok(InPlace(input.block::<[u8]>()?))
    }
}

impl ReadBlock for &&&&Arg<&str> {
    type Holder<'b> = InPlace<'b, str>;
    fn __atasker_read<'b, F: Format>(
        &self,
        input: &mut Input<'b, F>,
    ) -> Result<Self::Holder<'b>, TaskError> {
        Ok(InPlace(input.text::<str>()?))
    }
}

impl ReadBlock for &&&&Arg<&Path> {
    type Holder<'b> = InPlace<'b, Path>;
    fn __atasker_read<'b, F: Format>(
        &self,
        input: &mut Input<'b, F>,
    ) -> Result<Self::Holder<'b>, TaskError> {
        Ok(InPlace(Path::new(input.text::<Path>()?)))
    }
}

/// Reads a slice. See the module documentation.
pub trait ReadSlice<T> {
    /// Reads an argument.
    fn __atasker_read<F: Format>(
        &self,
        input: &mut Input<'_, F>,
    ) -> Result<LentSlice<T>, TaskError>;
}

impl<T: DeserializeOwned> ReadSlice<T> for &&&Arg<&[T]> {
    fn __atasker_read<F: Format>(
        &self,
        input: &mut Input<'_, F>,
    ) -> Result<LentSlice<T>, TaskError> {
        Ok(LentSlice(input.read()?))
    }
}

/// Reads a value to lend a reference to. See the module documentation.
pub trait ReadRef<T> {
    /// Reads an argument.
    fn __atasker_read<F: Format>(&self, input: &mut Input<'_, F>) -> Result<Lent<T>, TaskError>;
}

impl<T: DeserializeOwned> ReadRef<T> for &&Arg<&T> {
    fn __atasker_read<F: Format>(&self, input: &mut Input<'_, F>) -> Result<Lent<T>, TaskError> {
        Ok(Lent(input.read()?))
    }
}

/// Reads an owned value. See the module documentation.
pub trait ReadOwned<P> {
    /// Reads an argument.
    fn __atasker_read<F: Format>(&self, input: &mut Input<'_, F>) -> Result<Owned<P>, TaskError>;
}

impl<P: DeserializeOwned> ReadOwned<P> for &Arg<P> {
    fn __atasker_read<F: Format>(&self, input: &mut Input<'_, F>) -> Result<Owned<P>, TaskError> {
        Ok(Owned(input.read()?))
    }
}

/// Accepts a parameter that can't be read. See the module documentation.
pub trait NoRead {
    /// Never compiles if it is used.
    fn __atasker_read<F: Format>(&self, _: &mut Input<'_, F>) -> Result<Missing, TaskError> {
        never_compiles!(F, "a type of this program can't be sent to a worker process")
    }
}

impl<P> NoRead for Arg<P> {}

// Writing.

/// Writes one block of bytes. See the module documentation.
pub trait WriteBlock<P> {
    /// Writes an argument.
    fn __atasker_write<F: Format>(
        &self,
        value: &P,
        output: &mut Output<F>,
    ) -> Result<(), TaskError>;
}

impl WriteBlock<Vec<u8>> for &&&Arg<Vec<u8>> {
    fn __atasker_write<F: Format>(
        &self,
        value: &Vec<u8>,
        output: &mut Output<F>,
    ) -> Result<(), TaskError> {
        write_block(value, &mut output.bytes);
        Ok(())
    }
}

impl<'p> WriteBlock<&'p Vec<u8>> for &&&Arg<&'p Vec<u8>> {
    fn __atasker_write<F: Format>(
        &self,
        value: &&'p Vec<u8>,
        output: &mut Output<F>,
    ) -> Result<(), TaskError> {
        write_block(value, &mut output.bytes);
        Ok(())
    }
}

impl<'p> WriteBlock<&'p [u8]> for &&&Arg<&'p [u8]> {
    fn __atasker_write<F: Format>(
        &self,
        value: &&'p [u8],
        output: &mut Output<F>,
    ) -> Result<(), TaskError> {
        write_block(value, &mut output.bytes);
        Ok(())
    }
}

impl<'p> WriteBlock<&'p str> for &&&Arg<&'p str> {
    fn __atasker_write<F: Format>(
        &self,
        value: &&'p str,
        output: &mut Output<F>,
    ) -> Result<(), TaskError> {
        write_block(value.as_bytes(), &mut output.bytes);
        Ok(())
    }
}

impl<'p> WriteBlock<&'p Path> for &&&Arg<&'p Path> {
    fn __atasker_write<F: Format>(
        &self,
        value: &&'p Path,
        output: &mut Output<F>,
    ) -> Result<(), TaskError> {
        // Like serde: a path that is not valid UTF-8 can't be encoded.
        let text = value.to_str().ok_or_else(|| {
            failed::<PathBuf>(output.stage, format!("{} is not valid UTF-8", value.display()))
        })?;
        write_block(text.as_bytes(), &mut output.bytes);
        Ok(())
    }
}

/// Writes the target of a reference. See the module documentation.
pub trait WriteRef<T: ?Sized> {
    /// Writes an argument.
    fn __atasker_write<F: Format>(
        &self,
        value: &&T,
        output: &mut Output<F>,
    ) -> Result<(), TaskError>;
}

impl<T: Serialize + ?Sized> WriteRef<T> for &&Arg<&T> {
    fn __atasker_write<F: Format>(
        &self,
        value: &&T,
        output: &mut Output<F>,
    ) -> Result<(), TaskError> {
        output.write::<T>(value)
    }
}

/// Writes an owned value. See the module documentation.
pub trait WriteOwned<P> {
    /// Writes an argument.
    fn __atasker_write<F: Format>(
        &self,
        value: &P,
        output: &mut Output<F>,
    ) -> Result<(), TaskError>;
}

impl<P: Serialize> WriteOwned<P> for &Arg<P> {
    fn __atasker_write<F: Format>(
        &self,
        value: &P,
        output: &mut Output<F>,
    ) -> Result<(), TaskError> {
        output.write::<P>(value)
    }
}

/// Accepts an argument that can't be written. See the module documentation.
pub trait NoWrite<P> {
    /// Never compiles if it is used.
    fn __atasker_write<F: Format>(&self, _: &P, _: &mut Output<F>) -> Result<(), TaskError> {
        never_compiles!(F, "a type of this program can't be sent to a worker process")
    }
}

impl<P> NoWrite<P> for Arg<P> {}

// Results: as above, but with two kinds of blocks and owned values only.

/// Decodes a value from all of the input. An owned input may become part of the value.
pub type Reader<R> = fn(Cow<'_, [u8]>) -> Result<R, TaskError>;

/// Writes and reads results that are one block of bytes. See the module documentation.
pub trait ResultBlock<R> {
    /// Writes a result into an empty reply.
    fn __atasker_write_result<F: Format>(&self, value: R, out: &mut Reply)
    -> Result<(), TaskError>;
    /// Returns the decoder of a result. Left-over bytes are an error.
    fn __atasker_reader<F: Format>(&self) -> Reader<R>;
}

impl ResultBlock<Vec<u8>> for &&Arg<Vec<u8>> {
    fn __atasker_write_result<F: Format>(
        &self,
        value: Vec<u8>,
        out: &mut Reply,
    ) -> Result<(), TaskError> {
        // The block is the whole reply, so no length is needed.
        out.set_block(value);
        Ok(())
    }
    fn __atasker_reader<F: Format>(&self) -> Reader<Vec<u8>> {
        |bytes| Ok(bytes.into_owned())
    }
}

impl<E: Serialize + DeserializeOwned + Send> ResultBlock<Result<Vec<u8>, E>>
    for &&Arg<Result<Vec<u8>, E>>
{
    fn __atasker_write_result<F: Format>(
        &self,
        value: Result<Vec<u8>, E>,
        out: &mut Reply,
    ) -> Result<(), TaskError> {
        let ok = value.is_ok();
        match value {
            Ok(value) => out.set_block(value),
            Err(error) => F::write(&error, out.rest_mut())
                .map_err(|detail| failed::<E>(CodecStage::EncodeResult, detail))?,
        }
        // The tag comes last, so that the block need not be moved.
        out.rest_mut().push(ok as u8);
        Ok(())
    }
    fn __atasker_reader<F: Format>(&self) -> Reader<Result<Vec<u8>, E>> {
        |bytes| match bytes.split_last() {
            Some((1, block)) => Ok(Ok(match bytes {
                Cow::Borrowed(_) => block.to_vec(),
                Cow::Owned(mut bytes) => {
                    bytes.pop();
                    bytes
                }
            })),
            Some((0, error)) => read_result::<F, E>(Cow::Borrowed(error)).map(Err),
            _ => Err(failed::<Result<Vec<u8>, E>>(
                CodecStage::DecodeResult,
                "the input is neither `Ok` nor `Err`".to_owned(),
            )),
        }
    }
}

/// Writes and reads results of any other type. See the module documentation.
pub trait ResultOwned<R> {
    /// Writes a result into an empty reply.
    fn __atasker_write_result<F: Format>(&self, value: R, out: &mut Reply)
    -> Result<(), TaskError>;
    /// Returns the decoder of a result. Left-over bytes are an error.
    fn __atasker_reader<F: Format>(&self) -> Reader<R>;
}

impl<R: Serialize + DeserializeOwned + Send> ResultOwned<R> for &Arg<R> {
    fn __atasker_write_result<F: Format>(
        &self,
        value: R,
        out: &mut Reply,
    ) -> Result<(), TaskError> {
        F::write(&value, out.rest_mut())
            .map_err(|detail| failed::<R>(CodecStage::EncodeResult, detail))
    }
    fn __atasker_reader<F: Format>(&self) -> Reader<R> {
        read_result::<F, R>
    }
}

/// Accepts a result that can't be sent. See the module documentation.
pub trait NoResult<R> {
    /// Never compiles if it is used.
    fn __atasker_write_result<F: Format>(&self, _: R, _: &mut Reply) -> Result<(), TaskError> {
        never_compiles!(R, "a type of this program can't be sent from a worker process")
    }
    /// Never compiles if it is used.
    fn __atasker_reader<F: Format>(&self) -> Reader<R> {
        never_compiles!(R, "a type of this program can't be sent from a worker process")
    }
}

impl<R> NoResult<R> for Arg<R> {}

pub(super) fn read_result<F: Format, R: DeserializeOwned + Send>(
    bytes: Cow<'_, [u8]>,
) -> Result<R, TaskError> {
    let mut input =
        Input::<F> { bytes: &bytes, stage: CodecStage::DecodeResult, _format: PhantomData };
    let value = input.read_anywhere()?;
    input.end(type_name::<R>())?;
    Ok(value)
}

// Messages.

/// Encodes a message.
pub(crate) fn write_message<F: Format, T: Serialize>(message: &T) -> Result<Vec<u8>, TaskError> {
    let mut bytes = Vec::new();
    F::write(message, &mut bytes)
        .map_err(|detail| failed::<T>(CodecStage::EncodeMessage, detail))?;
    Ok(bytes)
}

/// Decodes a message. Left-over bytes are an error.
pub(crate) fn read_message<F: Format, T: DeserializeOwned + Send>(
    bytes: &[u8],
) -> Result<T, TaskError> {
    let mut input = Input::<F> { bytes, stage: CodecStage::DecodeMessage, _format: PhantomData };
    let message = input.read_anywhere()?;
    input.end(type_name::<T>())?;
    Ok(message)
}

#[cfg(test)]
#[allow(clippy::needless_borrow, reason = "method lookup counts the references")]
mod tests {
    use super::*;
    use crate::wire::codec::{Bincode, Msgpack};

    type Blob = Vec<u8>;

    fn written<F: Format>() -> Vec<u8> {
        let mut output = Output::<F>::new();
        (&&&&Arg::<&str>::new()).__atasker_write(&"text", &mut output).unwrap();
        (&&&&Arg::<Blob>::new()).__atasker_write(&vec![1, 2, 3], &mut output).unwrap();
        (&&&&Arg::<&[u8]>::new()).__atasker_write(&&[4, 5][..], &mut output).unwrap();
        (&&&&Arg::<&[String]>::new()).__atasker_write(&&["a".to_owned()][..], &mut output).unwrap();
        (&&&&Arg::<&Option<u64>>::new()).__atasker_write(&&Some(6), &mut output).unwrap();
        (&&&&Arg::<u64>::new()).__atasker_write(&7, &mut output).unwrap();
        output.into_payload().to_vec()
    }

    fn read<F: Format>(bytes: &[u8]) -> Result<(), TaskError> {
        let mut input = Input::<F>::arguments(bytes);
        let text = (&&&&&Arg::<&str>::new()).__atasker_read(&mut input)?;
        let blob = (&&&&&Arg::<Blob>::new()).__atasker_read(&mut input)?;
        let block = (&&&&&Arg::<&[u8]>::new()).__atasker_read(&mut input)?;
        let list = (&&&&&Arg::<&[String]>::new()).__atasker_read(&mut input)?;
        let option = (&&&&&Arg::<&Option<u64>>::new()).__atasker_read(&mut input)?;
        let number = (&&&&&Arg::<u64>::new()).__atasker_read(&mut input)?;
        input.end("all of it")?;

        let (text, block): (&str, &[u8]) = (text.__atasker_lend(), block.__atasker_lend());
        let within = |address: *const u8| bytes.as_ptr_range().contains(&address);
        assert!(
            within(text.as_ptr()) && within(block.as_ptr()),
            "they are borrowed from the input"
        );
        assert_eq!((text, blob.__atasker_lend(), block), ("text", vec![1, 2, 3], &[4, 5][..]));
        let (list, option): (&[String], &Option<u64>) =
            (list.__atasker_lend(), option.__atasker_lend());
        assert_eq!(
            (list, option, number.__atasker_lend()),
            (&["a".to_owned()][..], &Some(6), 7u64)
        );
        Ok(())
    }

    fn check_complete_truncated_and_extended<F: Format>() {
        let mut bytes = written::<F>();
        read::<F>(&bytes).unwrap();
        for end in 0..bytes.len() {
            let error = read::<F>(&bytes[..end]).unwrap_err();
            assert!(error.to_string().contains("decode the arguments"), "{error}");
        }
        bytes.push(0);
        let error = read::<F>(&bytes).unwrap_err().to_string();
        assert!(error.contains("all of it") && error.contains("1 byte(s) are left"), "{error}");
    }

    #[test]
    fn arguments_round_trip_or_fail() {
        check_complete_truncated_and_extended::<Bincode>();
        check_complete_truncated_and_extended::<Msgpack>();
    }

    #[test]
    fn invalid_utf8_is_rejected_as_text() {
        let mut output = Output::<Bincode>::new();
        (&&&&Arg::<&[u8]>::new()).__atasker_write(&&[0xff, 0xfe][..], &mut output).unwrap();
        let bytes = output.into_payload();
        let read =
            (&&&&&Arg::<&str>::new()).__atasker_read(&mut Input::<Bincode>::arguments(&bytes));
        assert!(read.unwrap_err().to_string().contains("utf-8"));
    }

    #[test]
    fn result_is_the_whole_reply() {
        let mut reply = Reply::default();
        let block = vec![9, 8];
        let address = block.as_ptr();
        (&&&Arg::<Blob>::new()).__atasker_write_result::<Bincode>(block, &mut reply).unwrap();
        assert_eq!(reply.parts(), [&[9, 8][..], &[]], "a block needs no length");
        let reply =
            (&&&Arg::<Blob>::new()).__atasker_reader::<Bincode>()(reply.into_bytes().into())
                .unwrap();
        assert_eq!((reply.as_slice(), reply.as_ptr()), (&[9, 8][..], address), "and no copy");

        type Either = Result<Blob, String>;
        for value in [Ok(vec![1]), Err("no".to_owned())] {
            let mut reply = Reply::default();
            let reader = (&&&Arg::<Either>::new()).__atasker_reader::<Msgpack>();
            (&&&Arg::<Either>::new())
                .__atasker_write_result::<Msgpack>(value.clone(), &mut reply)
                .unwrap();
            let reply = reply.into_bytes();
            assert_eq!(reader((&reply).into()).unwrap(), value);
            assert_eq!(reader(reply.into()).unwrap(), value);
        }
        assert!((&&&Arg::<Either>::new()).__atasker_reader::<Bincode>()([7][..].into()).is_err());
        assert!((&&&Arg::<Either>::new()).__atasker_reader::<Bincode>()([][..].into()).is_err());

        let mut reply = Reply::default();
        (&&&Arg::<u8>::new()).__atasker_write_result::<Bincode>(3, &mut reply).unwrap();
        reply.rest_mut().push(0);
        let read = (&&&Arg::<u8>::new()).__atasker_reader::<Bincode>()(reply.into_bytes().into());
        let error = read.unwrap_err().to_string();
        assert!(error.contains("decode the result") && error.contains("left over"), "{error}");
    }
}
