package org.bitnetonnx.chat.screens;

import android.content.Context;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.TextView;
import java.util.Collections;
import java.util.List;
import org.bitnetonnx.chat.R;
import org.bitnetonnx.chat.talk.Turn;

/** Two rows for each turn: what was asked, and what was answered. */
final class TurnsAdapter extends BaseAdapter {
  private final Context context;
  private List<Turn> turns = Collections.emptyList();

  TurnsAdapter(Context context) {
    this.context = context;
  }

  void show(List<Turn> turns) {
    this.turns = turns;
    notifyDataSetChanged();
  }

  @Override
  public int getCount() {
    return 2 * turns.size();
  }

  @Override
  public int getViewTypeCount() {
    return 2;
  }

  @Override
  public int getItemViewType(int position) {
    return position % 2;
  }

  @Override
  public String getItem(int position) {
    Turn turn = turns.get(position / 2);
    return asked(position) ? turn.user : turn.answer;
  }

  @Override
  public long getItemId(int position) {
    return position;
  }

  @Override
  public View getView(int position, View old, ViewGroup list) {
    View row = old;
    if (row == null) {
      int layout = asked(position) ? R.layout.row_user : R.layout.row_answer;
      row = LayoutInflater.from(context).inflate(layout, list, false);
    }
    String text = getItem(position);
    TextView bubble = (TextView) row.findViewById(R.id.text);
    bubble.setText(text.isEmpty() ? context.getString(R.string.thinking) : text);
    int who = asked(position) ? R.string.said_user : R.string.said_answer;
    bubble.setContentDescription(context.getString(who, bubble.getText()));
    return row;
  }

  private static boolean asked(int position) {
    return position % 2 == 0;
  }
}
