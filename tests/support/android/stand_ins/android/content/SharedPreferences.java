package android.content;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

public final class SharedPreferences {
  public final Map<String, String> values = new ConcurrentHashMap<>();

  public String getString(String name, String unset) {
    return values.getOrDefault(name, unset);
  }
}
