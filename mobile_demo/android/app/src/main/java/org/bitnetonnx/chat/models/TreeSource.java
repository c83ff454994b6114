package org.bitnetonnx.chat.models;

import android.content.ContentResolver;
import android.database.Cursor;
import android.net.Uri;
import android.provider.DocumentsContract;
import android.provider.DocumentsContract.Document;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.Map;

/** A folder that the user picked. */
final class TreeSource implements Source {
  private final ContentResolver resolver;
  private final Uri tree;
  private final Map<String, String> documents = new HashMap<>(); // their ids by name

  TreeSource(ContentResolver resolver, Uri tree) throws IOException {
    this.resolver = resolver;
    this.tree = tree;
    String folder = DocumentsContract.getTreeDocumentId(tree);
    Uri children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, folder);
    String[] columns = {Document.COLUMN_DISPLAY_NAME, Document.COLUMN_DOCUMENT_ID};
    try (Cursor rows = resolver.query(children, columns, null, null, null)) {
      if (rows == null) {
        throw new IOException("the folder cannot be read");
      }
      while (rows.moveToNext()) {
        documents.put(rows.getString(0), rows.getString(1));
      }
    }
  }

  @Override
  public InputStream open(String name) throws IOException {
    String document = documents.get(name);
    InputStream stream = null;
    if (document != null) {
      Uri file = DocumentsContract.buildDocumentUriUsingTree(tree, document);
      stream = resolver.openInputStream(file);
    }
    if (stream == null) {
      throw new FileNotFoundException(name);
    }
    return stream;
  }
}
