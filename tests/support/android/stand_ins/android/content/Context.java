package android.content;

public final class Context {}
