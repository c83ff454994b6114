package org.bitnetonnx.chat.models;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * The files that manifest.json lists. The engine checks the rest of it, and that this app can run
 * the model.
 */
public final class Manifest {
  public static final String NAME = "manifest.json";

  private static final long LIMIT = 1L << 40; // no model's; sums of these are no overflow
  private static final int MOST = 1000; // files

  /** One file of the model. */
  static final class Entry {
    final String name;
    final long size;
    final String sha256;

    Entry(String name, long size, String sha256) {
      this.name = name;
      this.size = size;
      this.sha256 = sha256;
    }
  }

  final byte[] text;
  final List<Entry> files = new ArrayList<>();
  public final String network;
  public final long bytes; // of all files

  Manifest(byte[] text) throws ModelException {
    this.text = text;
    long sum = 0;
    try {
      JSONObject manifest = new JSONObject(new String(text, StandardCharsets.UTF_8));
      network = manifest.optString("network");
      JSONObject listed = manifest.getJSONObject("files");
      if (listed.length() > MOST) {
        throw new ModelException(NAME + " lists more than " + MOST + " files");
      }
      for (Iterator<String> names = listed.keys(); names.hasNext(); ) {
        String name = names.next();
        JSONObject file = listed.getJSONObject(name);
        Entry entry = new Entry(name, file.getLong("size"), file.getString("sha256"));
        check(entry);
        files.add(entry);
        sum += entry.size;
      }
    } catch (JSONException error) {
      throw new ModelException(
          NAME + " is not that of an exported model; make one with: bitnet-onnx export");
    }
    bytes = sum;
  }

  /** A name must not lead out of the folder. */
  private static void check(Entry entry) throws ModelException {
    boolean plain = entry.name.matches("[^/\\\\:\\x00]+") && !entry.name.matches("\\.\\.?");
    if (!plain || entry.name.equals(NAME) || entry.size < 0 || entry.size > LIMIT) {
      throw new ModelException(NAME + " lists " + entry.name + ", expected plain names of files");
    }
  }
}
