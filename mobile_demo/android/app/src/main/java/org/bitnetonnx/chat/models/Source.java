package org.bitnetonnx.chat.models;

import java.io.IOException;
import java.io.InputStream;

/** A folder to copy a model from. */
interface Source {
  /** Throws FileNotFoundException where there is no such file. */
  InputStream open(String name) throws IOException;
}
