import lessonMark from '../../assets/lesson.svg';

/** Lists the lessons in `element`; their titles are text, never markup. */
export function showOutline(element, lessons) {
  const items = lessons.map((lesson, index) => {
    const item = document.createElement('li');
    const mark = document.createElement('img');
    mark.src = lessonMark;
    mark.alt = `Lesson ${index + 1}`;
    item.append(mark, lesson);
    return item;
  });
  element.textContent = '';
  element.append(...items);
}
