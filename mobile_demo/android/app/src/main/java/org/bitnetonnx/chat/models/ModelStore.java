package org.bitnetonnx.chat.models;

import android.content.Context;
import android.content.SharedPreferences;
import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** The models in the app's storage, and which of them answers. */
public final class ModelStore {
  public static final String BUNDLED = "bundled";
  static final String HALF = ".part"; // ends the name of what is not whole
  private static final String SELECTED = "model";

  private final Context context;
  private final File folder;
  private final SharedPreferences preferences;

  public ModelStore(Context context) {
    this.context = context;
    folder = new File(context.getFilesDir(), "models");
    preferences = context.getSharedPreferences("models", Context.MODE_PRIVATE);
    deleteHalves();
  }

  /** What is left of an import that ended with the process. */
  private void deleteHalves() {
    String[] found = folder.list();
    if (found != null) {
      for (String name : found) {
        if (name.endsWith(HALF)) {
          Copy.delete(folder(name));
        }
      }
    }
  }

  /** The bundled one first, then by name. */
  public List<String> names() {
    List<String> names = new ArrayList<>();
    names.add(BUNDLED);
    String[] found = folder.list();
    if (found != null) {
      Arrays.sort(found);
      for (String name : found) {
        if (!name.endsWith(HALF) && !name.startsWith(BUNDLED)) {
          names.add(name);
        }
      }
    }
    return names;
  }

  public String selected() {
    String name = preferences.getString(SELECTED, BUNDLED);
    return names().contains(name) ? name : BUNDLED;
  }

  public void select(String name) {
    preferences.edit().putString(SELECTED, name).apply();
  }

  /** Bytes of a model's files. */
  public long size(String name) {
    long sum = 0;
    File[] files = folder(name).listFiles();
    if (files != null) {
      for (File file : files) {
        sum += file.length();
      }
    }
    return sum;
  }

  public void delete(String name) {
    // Renamed first: half of a model must not bear its name.
    File half = new File(folder, name + HALF);
    if (folder(name).renameTo(half)) {
      Copy.delete(half);
    }
  }

  /** The folder of the selected model. Unpacks the bundled one where this app has not yet. */
  public File open() throws ModelException {
    String name = selected();
    return name.equals(BUNDLED) ? unpack() : folder(name);
  }

  /** A name for a model that is like no other's. */
  String unused(String wanted) {
    String plain = wanted.replaceAll("[^\\p{L}\\p{N}._ -]", "").trim();
    if (plain.isEmpty() || plain.startsWith(".") || plain.startsWith(BUNDLED)) {
      plain = "model " + plain;
    }
    if (plain.endsWith(HALF)) {
      plain += " model";
    }
    String name = plain;
    for (int i = 2; folder(name).exists(); i++) {
      name = plain + " " + i;
    }
    return name;
  }

  File folder(String name) {
    return new File(folder, name);
  }

  /** The files of an app's version: an update may bring another model. */
  private File unpack() throws ModelException {
    long installed;
    try {
      installed =
          context.getPackageManager().getPackageInfo(context.getPackageName(), 0).lastUpdateTime;
    } catch (android.content.pm.PackageManager.NameNotFoundException error) {
      throw new AssertionError(error); // this app is installed
    }
    File unpacked = folder(BUNDLED + "-" + installed);
    if (!unpacked.isDirectory()) {
      deleteBundled();
      new Copy(new AssetSource(context.getAssets()), QUIET).to(unpacked);
    }
    return unpacked;
  }

  private void deleteBundled() {
    folder.mkdirs();
    String[] found = folder.list();
    if (found != null) {
      for (String name : found) {
        if (name.startsWith(BUNDLED)) {
          Copy.delete(folder(name));
        }
      }
    }
  }

  private static final Copy.Progress QUIET =
      new Copy.Progress() {
        @Override
        public void at(long done, long all) {}
      };
}
