"""The app for Android, run and read without a phone."""
