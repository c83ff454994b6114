package org.bitnetonnx.chat.models;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * Copies a model into the app's storage and compares every file with the manifest. Copies under
 * another name and renames at the end: what bears a model's name is whole.
 */
final class Copy {
  private static final int BUFFER = 1 << 18;
  private static final int MANIFEST_LIMIT = 1 << 20;

  /** Is told how far a copy is; throws to end it. */
  interface Progress {
    void at(long done, long all) throws ModelException;
  }

  private final byte[] buffer = new byte[BUFFER];
  private final Source from;
  private final Progress progress;
  private long done;
  private long all;

  Copy(Source from, Progress progress) {
    this.from = from;
    this.progress = progress;
  }

  /** Returns the manifest of what now lies in `folder`, which must not exist before. */
  Manifest to(File folder) throws ModelException {
    File half = new File(folder.getPath() + ModelStore.HALF);
    delete(half);
    try {
      Manifest manifest = new Manifest(manifest());
      all = manifest.bytes;
      room(folder.getParentFile());
      if (!half.mkdirs()) {
        throw new ModelException("the folder " + half + " cannot be made");
      }
      for (Manifest.Entry entry : manifest.files) {
        copy(entry, half);
      }
      write(manifest.text, new File(half, Manifest.NAME));
      if (!half.renameTo(folder)) {
        throw new ModelException("the folder " + folder + " exists already");
      }
      return manifest;
    } catch (IOException error) {
      throw new ModelException("the model was not copied: " + error.getMessage());
    } finally {
      delete(half);
    }
  }

  private byte[] manifest() throws ModelException, IOException {
    try (InputStream stream = from.open(Manifest.NAME)) {
      ByteArrayOutputStream text = new ByteArrayOutputStream();
      for (int read; (read = stream.read(buffer)) >= 0; ) {
        text.write(buffer, 0, read);
        if (text.size() > MANIFEST_LIMIT) {
          throw new ModelException(Manifest.NAME + " is larger than 1 MB, expected a short list");
        }
      }
      return text.toByteArray();
    } catch (FileNotFoundException error) {
      throw new ModelException(
          "the folder has no " + Manifest.NAME + "; pick one that bitnet-onnx export made");
    }
  }

  private void room(File folder) throws ModelException {
    folder.mkdirs(); // else no space would be found
    long free = folder.getUsableSpace();
    if (free < all) {
      throw new ModelException(
          String.format("the model needs %,d MB, and %,d MB are free", all >> 20, free >> 20));
    }
  }

  private void copy(Manifest.Entry entry, File folder) throws ModelException, IOException {
    MessageDigest digest = sha256();
    long size = 0;
    try (InputStream stream = from.open(entry.name);
        FileOutputStream to = new FileOutputStream(new File(folder, entry.name))) {
      for (int read; (read = stream.read(buffer)) >= 0; ) {
        size += read;
        if (size > entry.size) {
          break;
        }
        to.write(buffer, 0, read);
        digest.update(buffer, 0, read);
        done += read;
        progress.at(done, all);
      }
      to.getFD().sync();
    } catch (FileNotFoundException error) {
      throw new ModelException(entry.name + " is in the manifest, but not in the folder");
    }
    if (size != entry.size || !hex(digest.digest()).equals(entry.sha256)) {
      throw new ModelException(
          entry.name + " is not the file that the manifest lists; copy the model again");
    }
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException error) {
      throw new AssertionError(error); // every Java has it
    }
  }

  private static String hex(byte[] bytes) {
    StringBuilder text = new StringBuilder();
    for (byte each : bytes) {
      text.append(Character.forDigit(each >> 4 & 15, 16)).append(Character.forDigit(each & 15, 16));
    }
    return text.toString();
  }

  static void write(byte[] bytes, File file) throws IOException {
    try (FileOutputStream stream = new FileOutputStream(file)) {
      stream.write(bytes);
      stream.getFD().sync();
    }
  }

  /** Deletes a folder of files, if there is one. */
  static void delete(File folder) {
    File[] files = folder.listFiles();
    if (files != null) {
      for (File file : files) {
        file.delete();
      }
    }
    folder.delete();
  }
}
