"""The C interface of the engine for native apps, mobile_demo/engine/bitnet_edge.h, in ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.native.edge import onnxruntime_library, program

__all__ = ["EdgeError", "Engine", "Generation", "Stats", "library"]


class Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("sentence", ctypes.c_char * 1024))


class Options(ctypes.Structure):
    _fields_ = (
        ("folder", ctypes.c_char_p),
        ("onnxruntime", ctypes.c_char_p),
        ("operators", ctypes.c_char_p),
        ("threads", ctypes.c_int),
    )


class Info(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("name", "head", "cache", "target", "kernel")),
        *(
            (name, ctypes.c_int32)
            for name in ("vocab_size", "context_length", "threads", "can_chat")
        ),
    )


class Generation(ctypes.Structure):
    _fields_ = (
        ("max_new_tokens", ctypes.c_int32),
        ("do_sample", ctypes.c_int32),
        ("top_k", ctypes.c_int32),
        ("temperature", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("min_p", ctypes.c_double),
        ("repetition_penalty", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("stop_strings", ctypes.POINTER(ctypes.c_char_p)),
        ("stop_string_count", ctypes.c_size_t),
        ("when_full", ctypes.c_int32),
    )


class Stats(ctypes.Structure):
    _fields_ = (
        ("finish", ctypes.c_int),
        *(
            (name, ctypes.c_int32)
            for name in ("prompt_ids", "reused_ids", "new_ids", "forgotten", "shifts")
        ),
        ("first_seconds", ctypes.c_double),
        ("decode_seconds", ctypes.c_double),
    )


PIECE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
CODES = ("ok", "argument", "artifact", "unsupported", "runtime", "context", "memory", "busy")


class EdgeError(Exception):
    """A code other than BITNET_EDGE_OK, by its name, and the sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(f"{CODES[code]}: {sentence}")
        self.code = CODES[code]


def library() -> ctypes.CDLL:
    found = ctypes.CDLL(str(program("libbitnet_edge.so")))
    found.bitnet_edge_answer_ids.restype = ctypes.POINTER(ctypes.c_int32)
    found.bitnet_edge_why_no_chat.restype = ctypes.c_char_p
    for name in ("close", "describe", "defaults", "stop"):
        getattr(found, f"bitnet_edge_{name}").restype = None
    return found


class Engine:
    """An open artifact; every method raises EdgeError where the C function fails."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.library = library()
        self.handle = ctypes.c_void_p()
        options = Options(os.fsencode(folder), os.fsencode(onnxruntime_library()), None, threads)
        self._call("open", ctypes.byref(options), ctypes.byref(self.handle))

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.library.bitnet_edge_close(self.handle)

    def _call(self, name: str, *arguments: Any) -> None:
        error = Error()
        code = getattr(self.library, f"bitnet_edge_{name}")(*arguments, ctypes.byref(error))
        assert code == error.code
        if code:
            raise EdgeError(code, error.sentence.decode())

    def info(self) -> Info:
        info = Info()
        self.library.bitnet_edge_describe(self.handle, ctypes.byref(info))
        return info

    def encode(self, text: bytes, special: bool = False) -> list[int]:
        count = ctypes.c_size_t()
        arguments = (self.handle, text, ctypes.c_size_t(len(text)), int(special))
        self._call("encode", *arguments, None, ctypes.c_size_t(0), ctypes.byref(count))
        ids = (ctypes.c_int32 * count.value)()
        self._call("encode", *arguments, ids, count, ctypes.byref(count))
        return list(ids)

    def decode(self, ids: Sequence[int]) -> bytes:
        given, size = (ctypes.c_int32 * len(ids))(*ids), ctypes.c_size_t()
        arguments = (self.handle, given, ctypes.c_size_t(len(ids)))
        self._call("decode", *arguments, None, ctypes.c_size_t(0), ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call("decode", *arguments, text, size, ctypes.byref(size))
        return text.raw[: size.value]

    def options(self, stop_strings: Sequence[bytes] | None = None, **changes: Any) -> Generation:
        found = Generation()
        self.library.bitnet_edge_defaults(self.handle, ctypes.byref(found))
        for name, value in changes.items():
            setattr(found, name, value)
        if stop_strings is not None:
            found.stop_strings = (ctypes.c_char_p * len(stop_strings))(*stop_strings)
            found.stop_string_count = len(stop_strings)
        return found

    def start(self, system: bytes | None = None) -> None:
        self._call("chat_start", self.handle, system, ctypes.c_size_t(len(system or b"")))

    def add(self, user: bytes, answer: bytes) -> None:
        sizes = ctypes.c_size_t(len(user)), ctypes.c_size_t(len(answer))
        self._call("chat_add", self.handle, user, sizes[0], answer, sizes[1])

    def send(
        self,
        text: bytes,
        options: Generation | None = None,
        on_piece: Callable[[bytes], int | None] | None = None,
    ) -> tuple[list[bytes], Stats]:
        size = ctypes.c_size_t(len(text))
        return self._answer("chat_send", (text, size), options, on_piece)

    def generate(
        self,
        ids: Sequence[int],
        options: Generation | None = None,
        on_piece: Callable[[bytes], int | None] | None = None,
    ) -> tuple[list[bytes], Stats]:
        given = (ctypes.c_int32 * len(ids))(*ids)
        size = ctypes.c_size_t(len(ids))
        return self._answer("generate", (given, size), options, on_piece)

    def _answer(
        self, name: str, prompt: tuple[Any, ...], options: Generation | None, on_piece: Any
    ) -> tuple[list[bytes], Stats]:
        pieces, stats = list[bytes](), Stats()

        def read(text: int, size: int, _user: int) -> int:
            piece = ctypes.string_at(text, size)
            if piece:  # none: an id that shows no text yet
                pieces.append(piece)
            return int((on_piece and on_piece(piece)) or 0)

        given = None if options is None else ctypes.byref(options)
        self._call(name, self.handle, *prompt, given, PIECE(read), None, ctypes.byref(stats))
        return pieces, stats

    def answer_ids(self) -> list[int]:
        count = ctypes.c_size_t()
        ids = self.library.bitnet_edge_answer_ids(self.handle, ctypes.byref(count))
        return [ids[place] for place in range(count.value)]

    def stop(self) -> None:
        self.library.bitnet_edge_stop(self.handle)
