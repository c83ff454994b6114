package org.bitnetonnx.chat.screens;

import android.app.Activity;
import android.content.res.Configuration;
import android.view.View;

/** Keeps a screen clear of the system's bars and of the keyboard. */
final class Bars {
  private static final int LIGHT_NAVIGATION_BAR = 0x10; // of View, from API 26 on

  private Bars() {}

  /** From targetSdk 35 on a window reaches under the bars; its root is padded by their sizes. */
  static void fit(Activity activity) {
    View decor = activity.getWindow().getDecorView();
    int night = activity.getResources().getConfiguration().uiMode & Configuration.UI_MODE_NIGHT_MASK;
    int flags = View.SYSTEM_UI_FLAG_LAYOUT_STABLE;
    if (night != Configuration.UI_MODE_NIGHT_YES) { // dark icons on a light window
      flags |= View.SYSTEM_UI_FLAG_LIGHT_STATUS_BAR | LIGHT_NAVIGATION_BAR;
    }
    decor.setSystemUiVisibility(flags);
  }
}
