package org.bitnetonnx.chat.screens;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.ActivityNotFoundException;
import android.content.DialogInterface;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.provider.DocumentsContract;
import android.text.format.Formatter;
import android.view.MenuItem;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.Button;
import android.widget.ListView;
import android.widget.ProgressBar;
import android.widget.TextView;
import android.widget.Toolbar;
import java.util.ArrayList;
import java.util.List;
import org.bitnetonnx.chat.App;
import org.bitnetonnx.chat.R;
import org.bitnetonnx.chat.Watcher;
import org.bitnetonnx.chat.models.Imports;
import org.bitnetonnx.chat.models.ModelStore;

/** The models: a touch selects one, a long touch deletes one, a button imports a folder. */
public final class ModelsActivity extends Activity
    implements Watcher,
        View.OnClickListener,
        AdapterView.OnItemClickListener,
        AdapterView.OnItemLongClickListener {
  private static final int PICK = 1;

  private ModelStore store;
  private Imports imports;
  private ListView list;
  private TextView status;
  private ProgressBar progress;
  private Button button;
  private List<String> names = new ArrayList<>();

  @Override
  protected void onCreate(Bundle saved) {
    super.onCreate(saved);
    setContentView(R.layout.models);
    Bars.fit(this);
    setActionBar((Toolbar) findViewById(R.id.toolbar));
    getActionBar().setDisplayHomeAsUpEnabled(true);
    store = App.of(this).store();
    imports = App.of(this).imports();
    list = (ListView) findViewById(R.id.models);
    list.setChoiceMode(ListView.CHOICE_MODE_SINGLE);
    list.setOnItemClickListener(this);
    list.setOnItemLongClickListener(this);
    status = (TextView) findViewById(R.id.status);
    progress = (ProgressBar) findViewById(R.id.progress);
    button = (Button) findViewById(R.id.import_model);
    button.setOnClickListener(this);
  }

  @Override
  protected void onStart() {
    super.onStart();
    imports.watch(this);
    listModels();
    changed();
  }

  @Override
  protected void onStop() {
    super.onStop();
    imports.watch(null);
  }

  @Override
  public boolean onOptionsItemSelected(MenuItem item) {
    if (item.getItemId() == android.R.id.home) {
      finish();
      return true;
    }
    return super.onOptionsItemSelected(item);
  }

  /** Starts an import, or ends the one in progress. */
  @Override
  public void onClick(View clicked) {
    if (imports.running()) {
      imports.cancel();
      return;
    }
    try {
      startActivityForResult(new Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), PICK);
    } catch (ActivityNotFoundException error) {
      show(getString(R.string.no_picker));
    }
  }

  @Override
  protected void onActivityResult(int request, int result, Intent data) {
    if (request == PICK && result == RESULT_OK && data != null) {
      Uri tree = data.getData();
      String path = DocumentsContract.getTreeDocumentId(tree); // "primary:Download/bitnet-2b"
      imports.start(tree, path.substring(1 + Math.max(path.lastIndexOf('/'), path.lastIndexOf(':'))));
      changed();
    }
  }

  @Override
  public void changed() {
    boolean running = imports.running();
    progress.setVisibility(running ? View.VISIBLE : View.GONE);
    progress.setProgress(imports.percent());
    button.setText(running ? R.string.cancel : R.string.import_model);
    String imported = imports.takeImported();
    if (imported != null) {
      listModels();
      select(imported);
      show(getString(R.string.imported, imported));
    }
    String sentence = imports.takeSentence();
    if (sentence != null) {
      show(sentence);
    }
  }

  private void show(String text) {
    status.setText(text);
    status.setVisibility(View.VISIBLE);
  }

  private void listModels() {
    names = store.names();
    List<String> lines = new ArrayList<>();
    for (String name : names) {
      lines.add(
          name.equals(ModelStore.BUNDLED)
              ? getString(R.string.bundled)
              : name + "\n" + Formatter.formatFileSize(this, store.size(name)));
    }
    list.setAdapter(
        new ArrayAdapter<String>(this, android.R.layout.simple_list_item_single_choice, lines));
    list.setItemChecked(names.indexOf(store.selected()), true);
  }

  private void select(String name) {
    store.select(name);
    list.setItemChecked(names.indexOf(name), true);
    App.of(this).assistant().open();
  }

  @Override
  public void onItemClick(AdapterView<?> from, View row, int position, long id) {
    if (!names.get(position).equals(store.selected())) {
      select(names.get(position));
    }
  }

  @Override
  public boolean onItemLongClick(AdapterView<?> from, View row, int position, long id) {
    final String name = names.get(position);
    if (name.equals(ModelStore.BUNDLED)) {
      return false;
    }
    DialogInterface.OnClickListener yes =
        new DialogInterface.OnClickListener() {
          @Override
          public void onClick(DialogInterface dialog, int which) {
            delete(name);
          }
        };
    new AlertDialog.Builder(this)
        .setMessage(getString(R.string.ask_delete, name))
        .setPositiveButton(R.string.delete, yes)
        .setNegativeButton(android.R.string.cancel, null)
        .show();
    return true;
  }

  private void delete(String name) {
    boolean answers = name.equals(store.selected());
    store.delete(name);
    if (answers) {
      select(ModelStore.BUNDLED);
    }
    listModels();
  }
}
