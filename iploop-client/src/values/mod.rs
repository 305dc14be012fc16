//! Values that the API's types are made of.

mod change;
mod secret;
mod timestamp;

pub use self::change::Change;
pub use self::secret::Secret;
pub use self::timestamp::Timestamp;
