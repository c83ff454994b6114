package org.bitnetonnx.chat.screens;

import android.app.Activity;
import android.os.Bundle;
import android.view.MenuItem;
import android.widget.Toolbar;
import org.bitnetonnx.chat.R;

/** The frame of the settings. */
public final class SettingsActivity extends Activity {
  @Override
  protected void onCreate(Bundle saved) {
    super.onCreate(saved);
    setContentView(R.layout.settings);
    Bars.fit(this);
    setActionBar((Toolbar) findViewById(R.id.toolbar));
    getActionBar().setDisplayHomeAsUpEnabled(true);
    if (saved == null) {
      getFragmentManager().beginTransaction().add(R.id.content, new SettingsFragment()).commit();
    }
  }

  @Override
  public boolean onOptionsItemSelected(MenuItem item) {
    if (item.getItemId() == android.R.id.home) {
      finish();
      return true;
    }
    return super.onOptionsItemSelected(item);
  }
}
