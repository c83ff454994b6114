package org.bitnetonnx.chat.talk;

import android.content.Context;
import android.content.SharedPreferences;
import android.preference.PreferenceManager;
import org.bitnetonnx.edge.Generation;

/** What the user set. What is left empty is as the model's own generation_config.json asks. */
public final class Settings {
  public static final String SYSTEM = "system";
  public static final String THREADS = "threads";
  public static final String SAMPLING = "sampling";
  public static final String MAX_NEW_TOKENS = "max_new_tokens";
  public static final String TEMPERATURE = "temperature";
  public static final String TOP_K = "top_k";
  public static final String TOP_P = "top_p";
  public static final String MIN_P = "min_p";
  public static final String REPETITION_PENALTY = "repetition_penalty";
  public static final String SEED = "seed";

  private final SharedPreferences preferences;

  public Settings(Context context) {
    preferences = PreferenceManager.getDefaultSharedPreferences(context);
  }

  /** null: none. */
  public String system() {
    String text = preferences.getString(SYSTEM, "");
    return text.isEmpty() ? null : text;
  }

  /** 0: one for each big core. */
  public int threads() {
    return (int) number(THREADS, 0);
  }

  /** Puts what the user set over what the model asks for. */
  Generation over(Generation generation) {
    String sampling = preferences.getString(SAMPLING, "");
    if (!sampling.isEmpty()) {
      generation.doSample = sampling.equals("on");
    }
    generation.maxNewTokens = (int) number(MAX_NEW_TOKENS, generation.maxNewTokens);
    generation.temperature = number(TEMPERATURE, generation.temperature);
    generation.topK = (int) number(TOP_K, generation.topK);
    generation.topP = number(TOP_P, generation.topP);
    generation.minP = number(MIN_P, generation.minP);
    generation.repetitionPenalty = number(REPETITION_PENALTY, generation.repetitionPenalty);
    // As a user expects, each answer differs, unless they set a seed.
    String seed = preferences.getString(SEED, "");
    generation.seed = seed.isEmpty() ? System.nanoTime() : Long.parseLong(seed);
    return generation;
  }

  private double number(String name, double unset) {
    String text = preferences.getString(name, "");
    return text.isEmpty() ? unset : Double.parseDouble(text);
  }
}
