package org.bitnetonnx.chat.models;

import android.content.res.AssetManager;
import java.io.IOException;
import java.io.InputStream;

/** The model that the app brings. */
final class AssetSource implements Source {
  private static final String FOLDER = "model";

  private final AssetManager assets;

  AssetSource(AssetManager assets) {
    this.assets = assets;
  }

  @Override
  public InputStream open(String name) throws IOException {
    return assets.open(FOLDER + "/" + name, AssetManager.ACCESS_STREAMING);
  }
}
