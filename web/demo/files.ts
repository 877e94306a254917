// Files that are pasted or dropped anywhere on the page.

/** @param isOpen whether files are taken now */
export function receiveFiles(add: (files: File[]) => Promise<void>, isOpen: () => boolean): void {
  let depth = 0;
  const hasFiles = ({ dataTransfer }: DragEvent): boolean => !!dataTransfer?.types.includes('Files') && isOpen();
  /** Each element under the pointer sends its own events, so they are counted. */
  function drag(next: number): void {
    depth = Math.max(0, next);
    document.body.toggleAttribute('data-drag', depth > 0);
  }
  addEventListener('paste', ({ clipboardData }) => {
    const files = [...(clipboardData?.files ?? [])];
    if (files.length && isOpen()) void add(files);
  });
  addEventListener('dragenter', (event) => hasFiles(event) && drag(depth + 1));
  addEventListener('dragleave', (event) => hasFiles(event) && drag(depth - 1));
  addEventListener('dragover', (event) => hasFiles(event) && event.preventDefault());
  addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drag(0);
    void add([...event.dataTransfer!.files]);
  });
}
