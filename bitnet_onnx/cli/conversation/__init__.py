"""What the command chat needs beside a chat: the terminal, and conversations kept in files."""
