package android.preference;

import android.content.Context;
import android.content.SharedPreferences;

public final class PreferenceManager {
  private static final SharedPreferences SHARED = new SharedPreferences();

  private PreferenceManager() {}

  public static SharedPreferences getDefaultSharedPreferences(Context context) {
    return SHARED;
  }
}
