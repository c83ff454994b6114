package org.bitnetonnx.chat.screens;

import android.content.ClipData;
import android.content.ClipboardManager;
import android.content.Context;
import android.view.View;
import android.widget.AdapterView;
import android.widget.Toast;
import org.bitnetonnx.chat.R;

/** A long press on a message copies it. */
final class CopyMessage implements AdapterView.OnItemLongClickListener {
  @Override
  public boolean onItemLongClick(AdapterView<?> list, View row, int position, long id) {
    Context context = row.getContext();
    String text = (String) list.getItemAtPosition(position);
    ClipboardManager clipboard =
        (ClipboardManager) context.getSystemService(Context.CLIPBOARD_SERVICE);
    clipboard.setPrimaryClip(ClipData.newPlainText(context.getString(R.string.app_name), text));
    Toast.makeText(context, R.string.copied, Toast.LENGTH_SHORT).show();
    return true;
  }
}
