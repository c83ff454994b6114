package org.bitnetonnx.edge;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** Strings to bytes for C, and back. */
final class Utf8 {
  private Utf8() {}

  /** Refuses half of a surrogate pair, which String.getBytes would turn into a question mark. */
  static byte[] bytes(String text) throws EngineException {
    ByteBuffer encoded;
    try {
      encoded = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
    } catch (CharacterCodingException error) {
      throw new EngineException(
          EngineException.ARGUMENT, "the text has half of a character, expected whole ones");
    }
    byte[] bytes = new byte[encoded.remaining()];
    encoded.get(bytes);
    return bytes;
  }

  static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** A string of C ends with NUL; null stays null. */
  static byte[] path(String text) throws EngineException {
    if (text == null) {
      return null;
    }
    if (text.indexOf('\0') >= 0) {
      throw new EngineException(EngineException.ARGUMENT, "the text has a NUL, expected none");
    }
    return bytes(text + '\0');
  }

  static byte[][] paths(String[] texts) throws EngineException {
    byte[][] made = new byte[texts.length][];
    for (int i = 0; i < texts.length; i++) {
      if (texts[i] == null) {
        throw new EngineException(EngineException.ARGUMENT, "a text is null, expected none that is");
      }
      made[i] = path(texts[i]);
    }
    return made;
  }

  static String[] texts(byte[][] strings) {
    String[] made = new String[strings.length];
    for (int i = 0; i < strings.length; i++) {
      made[i] = text(strings[i]);
    }
    return made;
  }
}
