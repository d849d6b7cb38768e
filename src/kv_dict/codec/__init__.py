"""Values to bytes and back: plain JSON where JSON can say it, tagged JSON where it cannot."""

from kv_dict.codec.codec import Codec, CustomCodec, JSONCodec

__all__ = ["Codec", "CustomCodec", "JSONCodec"]
