// Names the column of each cell, for the cards that tables become on a phone: see extra.css.
document$.subscribe(() => {
  for (const table of document.querySelectorAll("article table:not([class])")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, column) => { cell.dataset.head = heads[column]; });
    }
  }
});
