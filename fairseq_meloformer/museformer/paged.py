"""Paged attention: one query per song, to keys that every song has another number of.

Songs of a batch are at different bars, so what they may read differs in length by a factor of two or more. Attention to
single queries is as fast as memory is read, and reading the padding of a rectangular (batch, longest) tensor would cost
as much as reading keys. So keys and values lie in small pages of one song each, and a page is read by its song's query.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_PAGE = 64
"""Places of a page. Smaller ones waste less of the last page and cost more in small products."""


class Pages:
    """What the current bars of a batch of songs may read, in layers that read alike.

    Args:
        songs: how many.
        layers: how many.
        heads: of each layer.
        head_dim: width of a head.
        like: a tensor with the device and type of keys and values.

    Attributes:
        used: places of each song that are filled.
    """

    def __init__(self, songs: int, layers: int, heads: int, head_dim: int, like: Tensor) -> None:
        self.used = [0] * songs
        self._pages: list[list[int]] = [[] for _ in range(songs)]  # of each song, in order
        self._owner: list[int] = []  # song of each page; all pages from 0 on are somebody's
        self._content = like.new_zeros(layers, 2, 0, heads, _PAGE, head_dim)
        self._bias = like.new_zeros(0, heads, _PAGE)
        # Far below any logit, yet finite: a page that is empty for now must not turn into NaN.
        self._empty = torch.finfo(like.dtype).min / 4
        self._changed = True

    def fill(self, song: int, content: Sequence[Tensor]) -> None:
        """Set what a song's next tokens read: keys and values (layers, 2, heads, places, head_dim), piece by piece."""
        places = sum(piece.shape[3] for piece in content)
        self._resize(song, places // _PAGE + 1)  # with room for one token more
        pages = self._index(self._pages[song])
        layers, both, _, heads, _, head_dim = self._content.shape
        padding = self._content.new_zeros(layers, both, heads, len(pages) * _PAGE - places, head_dim)
        joined = torch.unflatten(torch.cat([*content, padding], dim=3), 3, (len(pages), _PAGE)).transpose(2, 3)
        self._content.index_copy_(2, pages, joined)
        self._bias[pages[:-1]] = 0
        self._bias[pages[-1]] = self._empty
        self._bias[pages[-1], :, : places % _PAGE] = 0
        self.used[song] = places
        self._changed = True

    def content(self, song: int, first: int) -> Tensor:
        """Keys and values (layers, 2, heads, places, head_dim) of a song from the place `first` on."""
        page = first // _PAGE
        pages = self._content.index_select(2, self._index(self._pages[song][page:]))
        return pages.transpose(2, 3).flatten(3, 4)[:, :, :, first - page * _PAGE : self.used[song] - page * _PAGE]

    def advance(self) -> None:
        """Make a place for one more token of every song; `attend` fills it, layer by layer."""
        for song, used in enumerate(self.used):
            if used == len(self._pages[song]) * _PAGE:
                self._resize(song, len(self._pages[song]) + 1)
                self._bias[self._pages[song][-1]] = self._empty
        if self._changed:
            self._look()
            newest = [
                pages[-1] * self._page_slots + used % _PAGE for pages, used in zip(self._pages, self.used, strict=True)
            ]
            self._slots = self._index(newest)[:, None, None] + self._of_heads
        else:
            self._slots += 1  # nothing that a GPU would have to wait for
        self._bias.view(-1).index_fill_(0, self._slots[:, 0].flatten(), 0)
        self.used = [used + 1 for used in self.used]

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Put one token per song in its place and let it read.

        Args:
            layer: which.
            projected: (batch, 3, heads, head_dim) query, key and value of each token.

        Returns:
            (batch, dim) what the tokens have read.
        """
        heads, head_dim = projected.shape[2:]
        places, keys, values = self._views[layer]
        places[self._slots] = projected[:, 1:]
        query = projected[:, 0].index_select(0, self._owners).view(-1, 1, head_dim)
        scores = torch.baddbmm(self._shown, query, keys, alpha=head_dim**-0.5).view(-1, heads, _PAGE)
        # A softmax over all pages of a song: its largest score, its sum, its mixture.
        largest = self._lowest.scatter_reduce(0, self._owners_of_heads, scores.amax(-1), "amax")
        weights = scores.sub_(largest.index_select(0, self._owners)[..., None]).exp_()
        mixed = self._members @ torch.bmm(weights.view(-1, 1, _PAGE), values).view(-1, heads * head_dim)
        total = self._members @ weights.sum(-1)
        return (mixed.view(-1, heads, head_dim) / total[..., None]).flatten(1)

    def _look(self) -> None:
        """Prepare what `attend` needs for as long as every song goes on in its last page."""
        pages, songs = len(self._owner), len(self.used)
        _, _, reserved, heads, _, head_dim = self._content.shape
        self._page_slots = heads * _PAGE
        device = self._bias.device
        kinds = torch.arange(2, device=device)[:, None] * (reserved * self._page_slots)
        self._of_heads = kinds + torch.arange(heads, device=device) * _PAGE  # (2, heads)
        self._owners = self._index(self._owner)
        self._owners_of_heads = self._owners[:, None].expand(-1, heads)
        self._members = (self._owners == torch.arange(songs, device=device)[:, None]).to(self._bias.dtype)
        self._lowest = self._bias.new_full((songs, heads), self._empty)
        self._shown = self._bias[:pages].view(-1, 1, _PAGE)
        self._views = [
            (
                content.view(-1, head_dim),
                content[0, :pages].view(-1, _PAGE, head_dim).transpose(1, 2),
                content[1, :pages].view(-1, _PAGE, head_dim),
            )
            for content in self._content
        ]
        self._changed = False

    def select(self, songs: Sequence[int]) -> None:
        """Keep these songs, in this order; a song may be taken twice."""
        before = self._pages
        for dropped in set(range(len(before))) - set(songs):
            self._resize(dropped, 0)
        kept: list[list[int]] = []
        taken: set[int] = set()
        for song in songs:
            kept.append(self._copy(before[song]) if song in taken else before[song])
            taken.add(song)
        self._pages = kept
        self.used = [self.used[song] for song in songs]
        for song, pages in enumerate(kept):
            for page in pages:
                self._owner[page] = song
        self._changed = True

    def _copy(self, pages: Sequence[int]) -> list[int]:
        """New pages with the content of these."""
        first = len(self._owner)
        self._reserve(first + len(pages))
        self._owner += [0] * len(pages)
        copied = list(range(first, first + len(pages)))
        self._content[:, :, copied] = self._content[:, :, list(pages)]
        self._bias[copied] = self._bias[list(pages)]
        return copied

    def _resize(self, song: int, wanted: int) -> None:
        """Give a song so many pages. What it does not need any more is filled with the last pages of all."""
        mine = self._pages[song]
        self._changed |= len(mine) != wanted
        self._reserve(len(self._owner) + wanted - len(mine))
        while len(mine) < wanted:
            mine.append(len(self._owner))
            self._owner.append(song)
        for page in sorted(mine[wanted:], reverse=True):
            mine.remove(page)
            last = len(self._owner) - 1
            other = self._owner.pop()
            if page != last:
                self._content[:, :, page] = self._content[:, :, last]
                self._bias[page] = self._bias[last]
                self._owner[page] = other
                self._pages[other][self._pages[other].index(last)] = page

    def _reserve(self, pages: int) -> None:
        """Make room for so many pages; half as much again, so that it happens seldom."""
        there = self._content.shape[2]
        if pages > there:
            layers, both, _, heads, _, head_dim = self._content.shape
            content = self._content.new_zeros(layers, both, pages + pages // 2, heads, _PAGE, head_dim)
            content[:, :, :there] = self._content
            bias = self._bias.new_zeros(pages + pages // 2, heads, _PAGE)
            bias[:there] = self._bias
            self._content, self._bias = content, bias

    def _index(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self._bias.device)
