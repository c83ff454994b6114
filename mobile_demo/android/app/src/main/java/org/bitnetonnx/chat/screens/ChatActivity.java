package org.bitnetonnx.chat.screens;

import android.app.Activity;
import android.content.Intent;
import android.os.Bundle;
import android.text.Editable;
import android.text.TextWatcher;
import android.text.format.Formatter;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.widget.EditText;
import android.widget.ImageButton;
import android.widget.ListView;
import android.widget.TextView;
import android.widget.Toolbar;
import org.bitnetonnx.chat.App;
import org.bitnetonnx.chat.R;
import org.bitnetonnx.chat.Watcher;
import org.bitnetonnx.chat.talk.Assistant;
import org.bitnetonnx.chat.talk.Assistant.State;
import org.bitnetonnx.chat.talk.Turn;
import org.bitnetonnx.edge.Description;
import org.bitnetonnx.edge.Stats;

/** The conversation. Shows what the Assistant holds, and keeps nothing itself but a draft. */
public final class ChatActivity extends Activity implements Watcher, View.OnClickListener {
  private Assistant assistant;
  private TurnsAdapter turns;
  private TextView status;
  private TextView stats;
  private EditText message;
  private ImageButton send;
  private State shown;

  @Override
  protected void onCreate(Bundle saved) {
    super.onCreate(saved);
    setContentView(R.layout.chat);
    Bars.fit(this);
    setActionBar((Toolbar) findViewById(R.id.toolbar));
    assistant = App.of(this).assistant();
    status = (TextView) findViewById(R.id.status);
    stats = (TextView) findViewById(R.id.stats);
    message = (EditText) findViewById(R.id.message);
    send = (ImageButton) findViewById(R.id.send);
    send.setOnClickListener(this);
    message.addTextChangedListener(new Typed());
    ListView list = (ListView) findViewById(R.id.turns);
    list.setEmptyView(findViewById(R.id.empty));
    turns = new TurnsAdapter(this);
    list.setAdapter(turns);
    list.setOnItemLongClickListener(new CopyMessage());
  }

  @Override
  protected void onStart() {
    super.onStart();
    assistant.watch(this);
    assistant.settingsChanged();
    changed();
  }

  @Override
  protected void onStop() {
    super.onStop();
    assistant.watch(null);
    assistant.save(); // from here on the system may end this process
  }

  @Override
  public boolean onCreateOptionsMenu(Menu menu) {
    getMenuInflater().inflate(R.menu.chat, menu);
    return true;
  }

  @Override
  public boolean onOptionsItemSelected(MenuItem item) {
    int id = item.getItemId();
    if (id == R.id.new_chat) {
      assistant.newChat();
    } else if (id == R.id.models) {
      startActivity(new Intent(this, ModelsActivity.class));
    } else if (id == R.id.settings) {
      startActivity(new Intent(this, SettingsActivity.class));
    } else {
      return super.onOptionsItemSelected(item);
    }
    return true;
  }

  /** The one button sends, or stops the answer in progress. */
  @Override
  public void onClick(View button) {
    if (assistant.state() == State.ANSWERING) {
      assistant.stop();
      return;
    }
    String text = message.getText().toString();
    if (!text.trim().isEmpty()) {
      message.setText("");
      assistant.send(text);
    }
  }

  @Override
  public void changed() {
    State state = assistant.state();
    turns.show(assistant.conversation().turns);
    showStatus(state);
    showStats();
    String unsent = assistant.takeUnsent();
    if (unsent != null && message.length() == 0) {
      message.setText(unsent);
      message.setSelection(unsent.length());
    }
    showButton(state);
    if (shown == State.ANSWERING && state == State.READY && unsent == null) {
      sayAnswer();
    }
    shown = state;
  }

  private void showStatus(State state) {
    String text = assistant.sentence();
    if (state == State.OPENING) {
      text = getString(R.string.opening);
    }
    if (text != null && !text.contentEquals(status.getText())) {
      status.setText(text); // TalkBack reads it when it changes
    }
    status.setVisibility(text == null ? View.GONE : View.VISIBLE);
    Description model = assistant.description();
    if (model != null) {
      String kernel = model.kernel.isEmpty() ? model.target : model.kernel;
      String threads =
          getResources().getQuantityString(R.plurals.threads, model.threads, model.threads);
      getActionBar().setSubtitle(getString(R.string.model, model.name, threads, kernel));
    }
  }

  private void showStats() {
    Stats last = assistant.stats();
    if (last != null) {
      String memory = Formatter.formatShortFileSize(this, assistant.memory());
      String text =
          getString(
              R.string.stats, last.newIds, last.tokensPerSecond(), last.firstSeconds, memory);
      if (last.forgotten > 0) {
        text += getResources().getQuantityString(R.plurals.forgotten, last.forgotten, last.forgotten);
      }
      stats.setText(text);
    }
    stats.setVisibility(last == null ? View.GONE : View.VISIBLE);
  }

  private void showButton(State state) {
    boolean answering = state == State.ANSWERING;
    boolean typed = message.getText().toString().trim().length() > 0;
    send.setImageResource(answering ? R.drawable.ic_stop : R.drawable.ic_send);
    send.setContentDescription(getString(answering ? R.string.stop : R.string.send));
    send.setEnabled(answering || (state == State.READY && typed));
    send.setImageAlpha(send.isEnabled() ? 255 : 96);
  }

  /** For TalkBack: the whole answer once, not each piece. */
  private void sayAnswer() {
    int count = assistant.conversation().turns.size();
    if (count > 0) {
      Turn last = assistant.conversation().turns.get(count - 1);
      stats.announceForAccessibility(last.answer);
    }
  }

  private final class Typed implements TextWatcher {
    @Override
    public void beforeTextChanged(CharSequence text, int start, int count, int after) {}

    @Override
    public void onTextChanged(CharSequence text, int start, int before, int count) {}

    @Override
    public void afterTextChanged(Editable text) {
      showButton(assistant.state());
    }
  }
}
