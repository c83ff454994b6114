package org.bitnetonnx.chat.screens;

import android.os.Bundle;
import android.preference.EditTextPreference;
import android.preference.ListPreference;
import android.preference.Preference;
import android.preference.PreferenceFragment;
import android.widget.Toast;
import org.bitnetonnx.chat.R;
import org.bitnetonnx.chat.talk.Settings;

/** The settings. An empty number is the model's own; a number out of its range is not taken. */
public final class SettingsFragment extends PreferenceFragment
    implements Preference.OnPreferenceChangeListener {
  /** The numbers that a setting may have. */
  private static final class Range {
    final String name;
    final double least;
    final double most;
    final boolean whole;

    Range(String name, double least, double most, boolean whole) {
      this.name = name;
      this.least = least;
      this.most = most;
      this.whole = whole;
    }
  }

  private static final Range[] RANGES = {
    new Range(Settings.MAX_NEW_TOKENS, 1, 100_000, true),
    new Range(Settings.TEMPERATURE, 0.01, 100, false),
    new Range(Settings.TOP_K, 0, 1_000_000, true),
    new Range(Settings.TOP_P, 0.01, 1, false),
    new Range(Settings.MIN_P, 0, 1, false),
    new Range(Settings.REPETITION_PENALTY, 0.01, 100, false),
    new Range(Settings.SEED, 0, Long.MAX_VALUE, true),
    new Range(Settings.THREADS, 0, 64, true),
  };

  @Override
  public void onCreate(Bundle saved) {
    super.onCreate(saved);
    addPreferencesFromResource(R.xml.settings);
    for (Range range : RANGES) {
      listen(range.name);
    }
    listen(Settings.SYSTEM);
    listen(Settings.SAMPLING);
  }

  private void listen(String name) {
    Preference preference = findPreference(name);
    preference.setOnPreferenceChangeListener(this);
    String value =
        preference instanceof ListPreference
            ? ((ListPreference) preference).getValue()
            : ((EditTextPreference) preference).getText();
    summarize(preference, value == null ? "" : value);
  }

  @Override
  public boolean onPreferenceChange(Preference preference, Object changed) {
    String value = changed.toString();
    for (Range range : RANGES) {
      if (range.name.equals(preference.getKey()) && !fits(range, value)) {
        String least = plain(range.least, range.whole);
        String most = plain(range.most, range.whole);
        String why = getString(R.string.out_of_range, preference.getTitle(), least, most);
        Toast.makeText(getActivity(), why, Toast.LENGTH_LONG).show();
        return false;
      }
    }
    summarize(preference, value);
    return true;
  }

  private static boolean fits(Range range, String value) {
    if (value.isEmpty()) {
      return true;
    }
    try {
      double number = range.whole ? Long.parseLong(value) : Double.parseDouble(value);
      return number >= range.least && number <= range.most;
    } catch (NumberFormatException error) {
      return false;
    }
  }

  private static String plain(double number, boolean whole) {
    return whole ? String.valueOf((long) number) : String.valueOf(number);
  }

  private void summarize(Preference preference, String value) {
    if (preference instanceof ListPreference) {
      ListPreference list = (ListPreference) preference;
      preference.setSummary(list.getEntries()[list.findIndexOfValue(value)]);
    } else if (!value.isEmpty()) {
      preference.setSummary(value);
    } else if (preference.getKey().equals(Settings.SYSTEM)) {
      preference.setSummary(R.string.no_system);
    } else if (preference.getKey().equals(Settings.THREADS)) {
      preference.setSummary(R.string.big_cores);
    } else if (preference.getKey().equals(Settings.SEED)) {
      preference.setSummary(R.string.any_seed);
    } else {
      preference.setSummary(R.string.as_model);
    }
  }
}
