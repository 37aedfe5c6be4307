"""Textbook Kalman filters of SORT (7 states) and of ByteTrack (8 states), with matrices and a solve."""

import numpy as np


def center_area_aspect(box):
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    return np.array([x1 + w / 2, y1 + h / 2, w * h, w / h])


def center_aspect_height(box):
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    return np.array([x1 + w / 2, y1 + h / 2, w / h, h])


class MatrixFilter:
    """x' = F x, P' = F P F^T + Q; K = P H^T (H P H^T + R)^-1, x += K (z - H x), P = (I - K H) P."""

    def __init__(self, x, P):
        self.x = np.array(x, float)
        self.P = np.array(P, float)

    def transition(self, dt):
        F = np.eye(len(self.x))
        for i in range(len(self.x) - 4):
            F[i, i + 4] = dt
        return F

    def predict(self, dt=1.0):
        F = self.transition(dt)
        Q = self.process_noise() * dt  # before the motion step, because ByteTrack's noise depends on the height
        self.x = F @ self.x
        self.P = F @ self.P @ F.T + Q

    def update(self, z):
        H = np.eye(4, len(self.x))
        S = H @ self.P @ H.T + self.measurement_noise()
        K = np.linalg.solve(S, H @ self.P).T
        self.x = self.x + K @ (z - H @ self.x)
        self.P = (np.eye(len(self.x)) - K @ H) @ self.P


class AreaFilter(MatrixFilter):
    """SORT, section 3.2: center x, center y, area, aspect ratio and the velocities of the first three."""

    def __init__(self, box):
        super().__init__([*center_area_aspect(box), 0, 0, 0], np.diag([10.0, 10, 10, 10, 1e4, 1e4, 1e4]))

    def process_noise(self):
        return np.diag([1, 1, 1, 1, 1e-2, 1e-2, 1e-4])

    def measurement_noise(self):
        return np.diag([1.0, 1, 10, 10])

    def predict(self, dt=1.0):
        if self.x[2] + self.x[6] * dt <= 0:  # the area must stay positive
            self.x[6] = 0
        super().predict(dt)

    def observe(self, box):
        self.update(center_area_aspect(box))

    def box(self):
        x, y, area, aspect = self.x[:4]
        w = np.sqrt(area * aspect)
        h = area / w
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


class HeightFilter(MatrixFilter):
    """DeepSORT and ByteTrack: center x, center y, aspect ratio, height and their velocities, with noise by height.

    Standard deviations: 1/20 of the height for positions, 1/160 for velocities (new tracks: 1/10 and 1/16); 1e-2 and
    1e-5 for the aspect ratio, 1e-1 for its measurement.
    """

    def __init__(self, box):
        z = center_aspect_height(box)
        p, v = z[3] / 10, z[3] / 16
        super().__init__([*z, 0, 0, 0, 0], np.diag(np.square([p, p, 1e-2, p, v, v, 1e-5, v])))

    def process_noise(self):
        p, v = self.x[3] / 20, self.x[3] / 160
        return np.diag(np.square([p, p, 1e-2, p, v, v, 1e-5, v]))

    def measurement_noise(self):
        p = self.x[3] / 20
        return np.diag(np.square([p, p, 1e-1, p]))

    def observe(self, box):
        self.update(center_aspect_height(box))

    def box(self):
        x, y, aspect, h = self.x[:4]
        w = aspect * h
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


class SizeFilter(MatrixFilter):
    """BoT-SORT: center, width, height and their velocities, with noise by width and height.

    Standard deviations: 1/20 of width or height for positions, 1/160 for velocities (new tracks: 1/10 and 1/16).
    """

    def __init__(self, box):
        z = self.measure(box)
        scale = np.array([z[2], z[3], z[2], z[3]])
        super().__init__([*z, 0, 0, 0, 0], np.diag(np.square([*(scale / 10), *(scale / 16)])))

    @staticmethod
    def measure(box):
        x1, y1, x2, y2 = box
        return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])

    def scale(self):
        return np.array([self.x[2], self.x[3], self.x[2], self.x[3]])

    def process_noise(self):
        return np.diag(np.square([*(self.scale() / 20), *(self.scale() / 160)]))

    def measurement_noise(self):
        return np.diag(np.square(self.scale() / 20))

    def observe(self, box):
        self.update(self.measure(box))

    def box(self):
        x, y, w, h = self.x[:4]
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
