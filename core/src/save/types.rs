//! The types of the language and its libraries.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use core::ops::Range;
use core::time::Duration;

use super::{Damaged, Reader, Save, Writer};
use crate::saved;

/// `usize` too, whatever its width: loading says if it does not fit.
macro_rules! integers {
    ($($integer:ty as $wide:ty, $method:ident;)*) => {$(
        impl Save for $integer {
            fn save(&self, out: &mut Writer) {
                out.$method(*self as $wide);
            }

            fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
                let wide = from.$method()?;
                wide.try_into().map_err(|_| from.invalid(1))
            }
        }
    )*};
}

integers! {
    u16 as u64, varint;
    u32 as u64, varint;
    u64 as u64, varint;
    usize as u64, varint;
    i8 as i64, signed;
    i16 as i64, signed;
    i32 as i64, signed;
    i64 as i64, signed;
}

macro_rules! nonzero {
    ($($nonzero:ty)*) => {$(
        impl Save for $nonzero {
            fn save(&self, out: &mut Writer) {
                self.get().save(out);
            }

            fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
                Self::new(Save::load(from)?).ok_or(from.invalid(1))
            }
        }
    )*};
}

nonzero! { NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroUsize }

impl Save for u8 {
    fn save(&self, out: &mut Writer) {
        out.byte(*self);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        from.byte()
    }

    fn save_all(values: &[u8], out: &mut Writer) {
        out.raw(values);
    }

    fn load_all(n: usize, from: &mut Reader<'_>) -> Result<Vec<u8>, Damaged> {
        from.raw(n).map(<[u8]>::to_vec)
    }
}

impl Save for u128 {
    fn save(&self, out: &mut Writer) {
        out.raw(&self.to_le_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Save::load(from).map(u128::from_le_bytes)
    }
}

impl Save for i128 {
    fn save(&self, out: &mut Writer) {
        out.raw(&self.to_le_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Save::load(from).map(i128::from_le_bytes)
    }
}

impl Save for bool {
    fn save(&self, out: &mut Writer) {
        out.byte((*self).into());
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.invalid(1)),
        }
    }
}

impl Save for () {
    fn save(&self, _: &mut Writer) {}

    fn load(_: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(())
    }
}

impl<T> Save for PhantomData<T> {
    fn save(&self, _: &mut Writer) {}

    fn load(_: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(PhantomData)
    }
}

impl<T: Save> Save for Option<T> {
    fn save(&self, out: &mut Writer) {
        self.is_some().save(out);
        if let Some(value) = self {
            value.save(out);
        }
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        bool::load(from)?.then(|| T::load(from)).transpose()
    }
}

impl<T: Save> Save for Box<T> {
    fn save(&self, out: &mut Writer) {
        (**self).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        T::load(from).map(Box::new)
    }
}

impl<T: Save> Save for Vec<T> {
    fn save(&self, out: &mut Writer) {
        out.length(self.len());
        T::save_all(self, out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let n = from.length()?;
        T::load_all(n, from)
    }
}

impl<T: Save> Save for Box<[T]> {
    fn save(&self, out: &mut Writer) {
        out.length(self.len());
        T::save_all(self, out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Vec::load(from).map(Vec::into_boxed_slice)
    }
}

impl<T: Save> Save for VecDeque<T> {
    fn save(&self, out: &mut Writer) {
        let (front, back) = self.as_slices();
        out.length(self.len());
        T::save_all(front, out);
        T::save_all(back, out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Vec::load(from).map(VecDeque::from)
    }
}

impl<T: Save, const N: usize> Save for [T; N] {
    fn save(&self, out: &mut Writer) {
        T::save_all(self, out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        // One by one: how many bytes are left says nothing of values that take none.
        let mut values = Vec::with_capacity(N);
        for _ in 0..N {
            values.push(T::load(from)?);
        }
        values.try_into().map_err(|_| from.invalid(0))
    }
}

impl Save for String {
    fn save(&self, out: &mut Writer) {
        out.bytes(self.as_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let bytes = from.bytes()?;
        core::str::from_utf8(bytes).map(Into::into).map_err(|_| from.invalid(bytes.len()))
    }
}

impl Save for Box<str> {
    fn save(&self, out: &mut Writer) {
        out.bytes(self.as_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        String::load(from).map(String::into_boxed_str)
    }
}

macro_rules! tuples {
    ($(($($name:ident)+);)*) => {$(
        #[allow(non_snake_case)]
        impl<$($name: Save),+> Save for ($($name,)+) {
            fn save(&self, out: &mut Writer) {
                let ($($name,)+) = self;
                $($name.save(out);)+
            }

            fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
                Ok(($($name::load(from)?,)+))
            }
        }
    )*};
}

tuples! {
    (A B);
    (A B C);
    (A B C D);
}

impl Save for Duration {
    fn save(&self, out: &mut Writer) {
        self.as_secs().save(out);
        self.subsec_nanos().save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        match (u64::load(from)?, u32::load(from)?) {
            (secs, nanos @ ..1_000_000_000) => Ok(Duration::new(secs, nanos)),
            _ => Err(from.invalid(1)),
        }
    }
}

impl<T: Save> Save for Range<T> {
    fn save(&self, out: &mut Writer) {
        self.start.save(out);
        self.end.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(T::load(from)?..T::load(from)?)
    }
}

saved!(enum IpAddr { 4 = V4(address), 6 = V6(address) });
saved!(enum SocketAddr { 4 = V4(address), 6 = V6(address) });

impl Save for Ipv4Addr {
    fn save(&self, out: &mut Writer) {
        self.octets().save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        <[u8; 4]>::load(from).map(Ipv4Addr::from)
    }
}

impl Save for Ipv6Addr {
    fn save(&self, out: &mut Writer) {
        self.octets().save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        <[u8; 16]>::load(from).map(Ipv6Addr::from)
    }
}

impl Save for SocketAddrV4 {
    fn save(&self, out: &mut Writer) {
        self.ip().save(out);
        self.port().save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(SocketAddrV4::new(Save::load(from)?, Save::load(from)?))
    }
}

impl Save for SocketAddrV6 {
    fn save(&self, out: &mut Writer) {
        self.ip().save(out);
        self.port().save(out);
        self.flowinfo().save(out);
        self.scope_id().save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let (ip, port) = Save::load(from)?;
        let (flow, scope) = Save::load(from)?;
        Ok(SocketAddrV6::new(ip, port, flow, scope))
    }
}
