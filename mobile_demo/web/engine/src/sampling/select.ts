// biome-ignore-all lint/style/noNonNullAssertion: indices stay inside the arrays
/** Order statistics of the numbers of a vocabulary, without sorting them all. */

/** The k-th largest of the values, 1 <= k <= length (quickselect; the values are copied). */
export function kthLargest(values: Float32Array | Float64Array, k: number): number {
  const work = values.slice();
  let [low, high] = [0, work.length - 1];
  while (low < high) {
    const pivot = work[(low + high) >> 1]!;
    let [left, right] = [low, high];
    while (left <= right) {
      while (work[left]! > pivot) left++;
      while (work[right]! < pivot) right--;
      if (left <= right) {
        const swapped = work[left]!;
        work[left++] = work[right]!;
        work[right--] = swapped;
      }
    }
    if (k - 1 <= right) high = right;
    else if (k - 1 >= left) low = left;
    else break;
  }
  return work[k - 1]!;
}

/** The index of the largest value, the first of equals; NaN is the largest, as in NumPy. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) return i;
    if (values[i]! > values[best]!) best = i;
  }
  return best;
}
